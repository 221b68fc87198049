//! What the routes work with. Knows no route.

use super::browsers::cookies::LoginCookie;
use super::browsers::device_cookie::DeviceCookie;
use super::browsers::pages::Pages;
use super::operators::clients::Clients;
use crate::config::Config;
use crate::core::metrics::Metrics;
use crate::core::secret::Secret;
use crate::engines::drains::Drains;
use crate::events::follower::Feed;
use crate::events::log::Events;
use crate::events::security_events::SecurityEvents;
use crate::events::webhooks::Webhooks;
use crate::gateways::Gateways;
use crate::http::server::Connections;
use crate::login::Login;
use crate::login::oidc::Oidc;
use crate::login::rate_limit::LoginRate;
use crate::placement::Placer;
use crate::sessions::tokens::Tokens;
use crate::sessions::{Sessions, Sweep};
use berth_store::redis_jwt::JwtRules;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// What the routes work with.
pub struct AppState {
    pub config: Config,
    pub sessions: Arc<Sessions>,
    pub tokens: Arc<Tokens>,
    pub feed: Feed,
    pub events: Events,
    pub sweep: Sweep,
    pub webhooks: Webhooks,
    /// `None`: nobody may push security events.
    pub security_events: Option<SecurityEvents>,
    pub login: Login,
    pub login_rate: LoginRate,
    /// Of what comes back from OpenID providers: it takes nothing from the logins with passwords.
    pub callback_rate: LoginRate,
    pub oidc: Oidc,
    pub placer: Arc<Placer>,
    pub drains: Drains,
    pub gateways: Arc<Gateways>,
    /// Of all listeners.
    pub connections: Arc<Connections>,
    pub metrics: Arc<Metrics>,
    /// Every metric of the service, for `/metrics`.
    pub registry: Registry,
    /// What a gateway proves itself with.
    pub gateway_secret: Option<Secret>,
    /// Who else may call `/v1`.
    pub clients: Clients,
    /// What else verifies the JWTs that clients of `compat.session_service` bring along.
    pub session_service_rules: Option<JwtRules>,
    pub cookie: LoginCookie,
    pub device_cookie: DeviceCookie,
    pub pages: Pages,
}

/// Shared by all requests.
pub type App = Arc<AppState>;
