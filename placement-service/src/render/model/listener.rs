//! The listener for clients: address, TLS, the proxies in front of it, and the headers that no client may set.

use super::clusters::Address;
use super::fault;
use crate::config::fault::Fault;
use crate::config::{Config, EdgeTls, identity_headers};
use serde::Serialize;

/// Prefixes of headers that upstreams trust.
const TRUSTED_PREFIXES: [&str; 2] = ["x-berth-", "x-envoy-"];
/// The headers by which proxies name the client. Without a proxy in front, only clients can have set them.
const FORWARDED_PREFIX: &str = "x-forwarded-";
const FORWARDED: &str = "forwarded";
/// Other headers that upstreams trust.
const TRUSTED_HEADERS: [&str; 1] = ["x-qlik-session"];

#[derive(Clone, Debug, Serialize)]
pub struct Listener {
    pub address: Address,
    /// Whether only this machine can connect.
    pub loopback: bool,
    pub tls: Option<TlsFiles>,
    /// Number of proxies in front of the edge that append to `X-Forwarded-For`.
    pub trusted_hops: u32,
    /// Prefixes of headers that are removed from requests of clients.
    pub removed_prefixes: Vec<String>,
    /// Headers that are removed from requests of clients.
    pub removed_headers: Vec<String>,
}

/// Paths on the machine of the edge.
#[derive(Clone, Debug, Serialize)]
pub struct TlsFiles {
    pub certificate: String,
    pub key: String,
}

impl From<&EdgeTls> for TlsFiles {
    fn from(tls: &EdgeTls) -> Self {
        Self {
            certificate: tls.certificate.display().to_string(),
            key: tls.key.display().to_string(),
        }
    }
}

impl Listener {
    pub(super) fn new(config: &Config, faults: &mut Vec<Fault>) -> Self {
        let edge = &config.edge;
        let hops = config.login.trusted_proxies.checked_sub(1);
        if hops.is_none() {
            let message = "must be at least 1: the edge is a proxy in front of the service";
            fault(faults, "login.trusted_proxies", message);
        }
        let trusted_hops = hops.unwrap_or_default();
        let mut prefixes = TRUSTED_PREFIXES.to_vec();
        if trusted_hops == 0 {
            prefixes.push(FORWARDED_PREFIX);
        }
        let fixed = TRUSTED_HEADERS.iter().chain([&FORWARDED]);
        let fixed = fixed.map(|name| (*name).to_owned());
        Self {
            address: Address::from(edge.listen),
            loopback: edge.listen.ip().is_loopback(),
            tls: edge.tls.as_ref().map(TlsFiles::from),
            trusted_hops,
            removed_prefixes: prefixes.into_iter().map(str::to_owned).collect(),
            removed_headers: fixed.chain(identity_headers(config)).collect(),
        }
    }
}
