//! The state that all routes share. Knows no route.

use super::browsers::cookies::LoginCookie;
use super::browsers::device_cookie::DeviceCookie;
use super::browsers::pages::Pages;
use super::operators::clients::Clients;
use super::reloads::ReloadRequests;
use crate::config::Config;
use crate::core::metrics::Metrics;
use crate::core::secret::Secret;
use crate::engines::drains::Drains;
use crate::events::follower::EventLogFollower;
use crate::events::log::EventLogReader;
use crate::events::security_events::SecurityEvents;
use crate::events::webhooks::Webhooks;
use crate::gateways::{GatewayDrains, Gateways, StreamDirectory};
use crate::http::server::{Connections, ServerTls};
use crate::login::Login;
use crate::login::oidc::Oidc;
use crate::login::rate_limit::LoginRateLimiter;
use crate::placement::{Handover, PlacementService};
use crate::sessions::tokens::Tokens;
use crate::sessions::{CleanupTasks, Sessions, StoreHeartbeat};
use berth_store::redis_jwt::JwtRules;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// The state that all routes share. A reload builds another one, with the same parts where nothing has changed.
#[derive(Clone)]
pub struct AppState {
    pub config: Arc<Config>,
    pub sessions: Arc<Sessions>,
    pub tokens: Arc<Tokens>,
    pub follower: Arc<EventLogFollower>,
    pub events: Arc<EventLogReader>,
    pub cleanup: Arc<CleanupTasks>,
    pub heartbeat: Arc<StoreHeartbeat>,
    pub webhooks: Arc<Webhooks>,
    /// `None`: the service receives no security events.
    pub security_events: Option<Arc<SecurityEvents>>,
    pub login: Arc<Login>,
    pub login_rate: Arc<LoginRateLimiter>,
    /// Limits callbacks from OpenID providers, separately from password logins.
    pub callback_rate: Arc<LoginRateLimiter>,
    pub oidc: Arc<Oidc>,
    pub placement: Arc<PlacementService>,
    pub handover: Arc<Handover>,
    pub drains: Arc<Drains>,
    pub gateways: Arc<Gateways>,
    pub gateway_drains: Arc<GatewayDrains>,
    pub streams: Arc<StreamDirectory>,
    /// The connections of all listeners.
    pub connections: Arc<Connections>,
    /// TLS of the main listener; `None`: plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    pub metrics: Arc<Metrics>,
    /// Every metric of the service, for `/metrics`.
    pub registry: Arc<Registry>,
    /// The shared secret of the gateways; `None`: any caller counts as a gateway.
    pub gateway_secret: Option<Secret>,
    /// The other callers of `/v1`.
    pub clients: Arc<Clients>,
    /// Verify the JWTs of clients of `compat.session_service`, in addition to the service's own keys.
    pub session_service_rules: Option<Arc<JwtRules>>,
    pub cookie: LoginCookie,
    pub device_cookie: DeviceCookie,
    pub pages: Arc<Pages>,
    /// Requests of operators to reload the configuration.
    pub reloads: Arc<ReloadRequests>,
}

/// The state as handlers receive it.
pub type App = Arc<AppState>;
