//! Settings of the edge, Envoy with the filter, that no other section has: addresses, files, limits, applications.
//! `berth render` writes the edge's files from them and from the other sections. Knows no format of these files.

mod address;
mod applications;
mod kubernetes;
mod token_keys;

pub use address::HostPort;
pub use applications::{Application, ApplicationRoute, LoginTimeout, RouteAction};
pub use kubernetes::{EdgeEnvoyGateway, EdgeIstio, EdgeKubernetes, LabelSelector};
pub use token_keys::EdgeTokenKey;

use super::fault_collector::{FaultCollector, SECOND};
use super::login::is_origin;
use super::tls::check_file;
use super::{Config, UpstreamTls, tls};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// The listener for clients.
    pub listen: SocketAddr,
    /// `None`: plain HTTP.
    pub tls: Option<EdgeTls>,
    /// Envoy's admin interface.
    pub admin: SocketAddr,
    /// Where Envoy finds the filter's configuration.
    pub filter_file: PathBuf,
    /// Where Envoy finds the filter's module.
    pub wasm: PathBuf,
    /// Maximum connections of clients.
    pub max_connections: u32,
    /// The heap at which Envoy stops accepting requests, in MiB.
    pub max_heap_mb: u32,
    /// The replicas of the service; empty: the address `listen` of the service.
    pub service: Vec<HostPort>,
    /// How Envoy connects to a service with `tls`. The files are on the machine of the edge.
    pub service_tls: Option<UpstreamTls>,
    /// The variable of Envoy's environment with `gateways.secret`; `None`: the one of `gateways.secret.env`.
    pub gateway_secret_env: Option<String>,
    /// The keys that verify tokens; empty: they follow from the section `tokens`.
    pub token_keys: Vec<EdgeTokenKey>,
    /// Whether clients get the page of the demonstration at `/`.
    pub demo_page: bool,
    /// Origins besides the own one whose pages may open WebSockets, and send requests with unsafe methods to engines.
    pub origins: Vec<String>,
    /// Paths below which a request is never a page navigation.
    pub api_prefixes: Vec<String>,
    /// Headers that no client may set, besides those that Berth sets itself.
    pub strip_headers: Vec<String>,
    /// Time for the close handshake of a WebSocket.
    #[serde(with = "humantime_serde")]
    pub close_timeout: Duration,
    pub cache: EdgeCache,
    /// How long Envoy keeps a connection to an engine without a request: less than engines do, since a request on a
    /// connection that the engine closes gets no answer.
    #[serde(with = "humantime_serde")]
    pub engine_idle_timeout: Duration,
    /// What is behind the edge besides engines and the service.
    pub applications: Vec<Application>,
    pub kubernetes: EdgeKubernetes,
    pub istio: EdgeIstio,
    pub envoy_gateway: EdgeEnvoyGateway,
}

/// PEM files on the machine of the edge.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeTls {
    /// The chain of certificates.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The tokens, and the engines of plain requests, that a worker of Envoy caches.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeCache {
    /// 0: no cache.
    pub entries: u32,
    pub bytes: u32,
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let edge = &config.edge;
    check_file("edge.filter_file", &edge.filter_file, faults);
    check_file("edge.wasm", &edge.wasm, faults);
    if let Some(tls) = &edge.tls {
        check_file("edge.tls.certificate", &tls.certificate, faults);
        check_file("edge.tls.key", &tls.key, faults);
    }
    if let Some(tls) = &edge.service_tls {
        tls::check_upstream("edge.service_tls", tls, faults);
    }
    if !edge.admin.ip().is_loopback() {
        let message =
            "must be a loopback address: its clients can stop Envoy and read its configuration";
        faults.add("edge.admin", message);
    } else if edge.listen == edge.admin && edge.listen.port() != 0 {
        faults.add("edge.admin", "must not be the address of edge.listen");
    }
    faults.check_count("edge.max_connections", edge.max_connections, 10_000_000);
    faults.check_count("edge.max_heap_mb", edge.max_heap_mb, 1_048_576);
    if let Some(name) = &edge.gateway_secret_env {
        check_variable("edge.gateway_secret_env", name, faults);
    }
    token_keys::check(&edge.token_keys, faults);
    for (index, origin) in edge.origins.iter().enumerate() {
        if !is_origin(origin) {
            let path = format!("edge.origins[{index}]");
            faults.add(path, "must be an origin such as https://app.example.com");
        }
    }
    for (index, prefix) in edge.api_prefixes.iter().enumerate() {
        check_path(&format!("edge.api_prefixes[{index}]"), prefix, faults);
    }
    for (index, name) in edge.strip_headers.iter().enumerate() {
        check_header(&format!("edge.strip_headers[{index}]"), name, faults);
    }
    let min = Duration::from_millis(1);
    faults.check_range("edge.close_timeout", edge.close_timeout, min, 10 * SECOND);
    let timeout = edge.engine_idle_timeout;
    faults.check_range("edge.engine_idle_timeout", timeout, min, 3600 * SECOND);
    faults.check_range("edge.cache.ttl", edge.cache.ttl, min, 30 * SECOND);
    if edge.cache.entries > 1_000_000 {
        faults.add("edge.cache.entries", "must be 0 to 1000000");
    }
    if !(65_536..=268_435_456).contains(&edge.cache.bytes) {
        faults.add("edge.cache.bytes", "must be 65536 to 268435456");
    }
    applications::check(&edge.applications, faults);
    kubernetes::check(edge, faults);
}

/// A path as the filter accepts it: absolute, visible ASCII, without query and dot segments.
fn check_path(path: &str, text: &str, faults: &mut FaultCollector) {
    let dots = text
        .split('/')
        .any(|segment| segment == "." || segment == "..");
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !text.starts_with('/') || !visible || dots || text.contains(['?', '#']) {
        faults.add(path, "must be a path such as /api/, without a query");
    }
}

/// The name of an environment variable (POSIX).
fn check_variable(path: &str, name: &str, faults: &mut FaultCollector) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let digit = name.starts_with(|first: char| first.is_ascii_digit());
    if name.is_empty() || digit || !name.bytes().all(allowed) {
        faults.add(path, "must be the name of an environment variable");
    }
}

/// Headers without which the filter and Envoy cannot read a request.
const NEEDED_HEADERS: [&str; 8] = [
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "origin",
    "transfer-encoding",
    "upgrade",
];

fn check_header(path: &str, name: &str, faults: &mut FaultCollector) {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(allowed) {
        faults.add(path, "must be the name of a header in lower case");
    } else if NEEDED_HEADERS.contains(&name)
        || name.starts_with("sec-websocket-")
        || name.starts_with("sec-fetch-")
    {
        faults.add(path, "cannot be removed: requests need it");
    }
}

#[cfg(test)]
mod tests;
