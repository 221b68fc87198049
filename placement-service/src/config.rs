//! What an operator can say: the typed shape of the YAML configuration. Types only; `load` reads,
//! defaults and checks.

mod check;
pub mod fault;
pub mod load;
pub mod secrets;
mod tree;

use crate::secret::Secret;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The whole configuration, defaults filled in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    pub log: Log,
    pub store: Store,
    pub session: Session,
    pub login: Login,
    pub tokens: Tokens,
    pub gateways: Gateways,
    pub probe: Probe,
    pub placement: Placement,
    pub pools: Vec<Pool>,
    pub routes: Vec<Route>,
    /// How long requests in flight may take to finish after SIGTERM.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
}

/// Structured logs on standard error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A `tracing` filter, such as `info` or `berth_placement=debug,info`.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    Json,
    Text,
}

/// Where sessions and accounts are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Store {
    Sqlite { path: PathBuf },
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub cookie: Cookie,
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub absolute_timeout: Duration,
    /// How long a looked-up session is served from memory.
    #[serde(with = "humantime_serde")]
    pub cache: Duration,
}

/// The login cookie: `__Host-berth` when secure, `berth` otherwise (S8).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cookie {
    pub secure: bool,
    pub same_site: SameSite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Where a login goes that named no `return_to`.
    pub default_return_to: String,
    /// Origins besides the request's own host that may post the login form.
    pub trusted_origins: Vec<String>,
}

/// How the JWT for the engines is made (S26).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    pub algorithm: Algorithm,
    pub key: Key,
    /// Names the key in the JWT header; a thumbprint of the key when absent.
    pub kid: Option<String>,
    pub issuer: String,
    pub audience: String,
    #[serde(with = "humantime_serde")]
    pub lifetime: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// Where a key comes from. HS256: the shared secret's text. Others: a PKCS#8 PEM private key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// In the configuration itself: for demonstrations only.
    Inline(Secret),
    File(PathBuf),
    Env(String),
}

/// How a gateway (Envoy with the filter) proves itself on `/v1`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateways {
    /// `Authorization: Bearer <secret>`; without one, only the listen address protects `/v1`.
    pub secret: Option<Key>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Consecutive failures that make an engine unhealthy.
    pub failures: u32,
    /// Consecutive successes that make it healthy again.
    pub successes: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// For the whole placement, every attempt included.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// Engines tried at the most.
    pub attempts: u32,
    /// How long an engine may take to accept a connection and say its first word.
    #[serde(with = "humantime_serde")]
    pub engine_timeout: Duration,
    /// How long a reservation counts at the most when no probe confirms it.
    #[serde(with = "humantime_serde")]
    pub reservation_ttl: Duration,
}

/// Engines that serve the same things.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub name: String,
    pub driver: Driver,
    /// The Envoy cluster. With `{engine}` in it: a cluster per engine, and no destination header.
    pub cluster: String,
    #[serde(default)]
    pub strategy: Strategy,
    /// Sessions per engine at the most.
    #[serde(default)]
    pub session_threshold: Option<u32>,
    pub discovery: Discovery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    Qix,
    Websocket,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    RoundRobin,
    #[default]
    LeastLoad,
    /// Probability proportional to `session_threshold - sessions`; needs the threshold.
    Weighted,
}

/// Where a pool's engines come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discovery {
    Fixed(Vec<FixedEngine>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedEngine {
    pub name: String,
    pub ip: IpAddr,
    pub port: u16,
    /// Prometheus metrics; none when absent.
    #[serde(default)]
    pub metrics_port: Option<u16>,
}

/// Which pool takes a path, and what is opened there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A literal path, or one that ends in `{document}` (the rest of the path).
    pub path: String,
    pub pool: String,
    /// What the driver opens first; `websocket` pools open nothing.
    #[serde(default)]
    pub open: Open,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Open {
    #[default]
    Nothing,
    /// A document by name; `{document}` stands for the route's part.
    Document(String),
    SessionApp,
}
