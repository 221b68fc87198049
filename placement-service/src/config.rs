//! The typed form of the YAML configuration: one file per section, each with the checks that types cannot
//! express. `load` reads a file, adds the defaults and runs the checks. Knows nothing of the code that the
//! settings control.

mod api;
mod capacity;
mod check;
mod compat;
mod discovery;
mod edge;
mod events;
pub mod fault;
mod fault_collector;
mod fleet;
mod http;
mod ledger;
pub mod load;
mod login;
mod oidc;
mod pool;
mod pool_probe;
mod route;
mod security_events;
mod session;
mod settings_tree;
mod store;
mod subject_template;
mod tls;
mod tokens;
mod tree;
mod web_address;
mod webhooks;

pub use api::{Api, ApiClient, Role};
pub use capacity::{Capacity, Queue};
pub use compat::{Compat, Mira, SessionService};
pub(crate) use discovery::check_engines;
pub use discovery::{
    Addresses, Discovery, DnsSource, DockerMode, DockerSource, EnginePort, FileSource,
    KubernetesObjects, KubernetesSource, MiraSource, Sources, StaticEngine,
};
pub use edge::{
    Application, ApplicationRoute, Edge, EdgeCache, EdgeEnvoyGateway, EdgeIstio, EdgeKubernetes,
    EdgeTls, EdgeTokenKey, HostPort, LabelSelector, LoginTimeout, RouteAction,
};
pub use events::Events;
pub use fleet::{Placement, Probe};
pub use http::Http;
pub use ledger::{Ledger, RedisLedger};
pub use login::{Lockout, Login, LoginRate};
pub use oidc::{LogoutTokenType, OidcProvider, RoleMapping, is_https_or_loopback};
pub use pool::{Driver, ENGINE_PLACEHOLDER, Pool, Sharing, Strategy, Weights};
pub use pool_probe::{MemoryFamilies, MetricsMapping, PoolProbe, Unit};
pub use route::{
    Activity, Affinity, AffinityCount, AffinityKey, AffinityMode, DOCUMENT_PLACEHOLDER,
    OpenTemplate, Permission, Route,
};
pub(crate) use route::{compare_precedence, identity_headers};
pub use security_events::{AccountBy, Jwks, SecurityEvents, Transmitter};
pub use session::{ANONYMOUS_NAME, Cleanup, Cookie, OnLimit, SameSite, Session};
pub use settings_tree::{ReloadPlan, SettingsTree};
pub use store::{JwtKey, RedisJwt, Store};
pub use subject_template::SubjectTemplate;
pub use tls::{ClientCertificates, ServiceTls, UpstreamTls};
pub use tokens::{Algorithm, DEMO_SECRET, Gateways, SecretSource, TokenKey, Tokens};

pub use webhooks::{Backoff, Webhook, WebhookEvent, WebhookFormat};

use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

/// The whole configuration, with defaults applied.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    /// `None`: plain HTTP.
    pub tls: Option<ServiceTls>,
    pub log: Log,
    pub store: Store,
    pub session: Session,
    pub events: Events,
    pub webhooks: Vec<Webhook>,
    /// `None`: security events are not accepted.
    pub security_events: Option<SecurityEvents>,
    pub login: Login,
    pub oidc: Vec<OidcProvider>,
    pub tokens: Tokens,
    pub gateways: Gateways,
    pub api: Api,
    pub probe: Probe,
    pub placement: Placement,
    pub pools: Vec<Pool>,
    pub routes: Vec<Route>,
    pub compat: Compat,
    pub http: Http,
    pub edge: Edge,
    /// How long requests in flight may take to finish after SIGTERM.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
    /// All of this as it was read.
    #[serde(skip)]
    pub settings: SettingsTree,
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
