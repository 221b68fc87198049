//! The checks of the headers that a route sets: which names it may use, and what their values may contain.

use super::{AffinityKey, Route};
use crate::config::fault_collector::FaultCollector;
use crate::core::header_template::HeaderTemplate;

/// Headers that a request needs or that say where it comes from.
const RESERVED: [&str; 30] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-http-method-override",
    "x-qlik-session",
    "x-real-ip",
    "x-request-id",
];
const RESERVED_PREFIXES: [&str; 5] = [
    "access-control-",
    "sec-fetch-",
    "sec-websocket-",
    "x-berth-",
    "x-envoy-",
];

pub(super) fn check(at: &str, route: &Route, faults: &mut FaultCollector) {
    for (name, value) in &route.headers {
        let path = format!("{at}.headers.{name}");
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(allowed) {
            faults.add(&path, "must be the name of a header in lower case");
        } else if is_reserved(name) {
            faults.add(&path, "is reserved: a request needs it, or Berth sets it");
        }
        match HeaderTemplate::parse(value) {
            Err(error) => faults.add(path, error.to_string()),
            Ok(template) if template.uses_key() && route.affinity.key == AffinityKey::Stream => {
                faults.add(path, "uses {key}, and affinity.key is stream");
            }
            Ok(_) => {}
        }
    }
}

fn is_reserved(name: &str) -> bool {
    let mut prefixes = RESERVED_PREFIXES.iter();
    RESERVED.contains(&name) || prefixes.any(|prefix| name.starts_with(prefix))
}
