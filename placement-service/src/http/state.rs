//! What the routes work with. Knows no route.

use super::{Clients, DeviceCookie, LoginCookie, Pages};
use crate::config::Config;
use crate::drains::Drains;
use crate::events::Events;
use crate::feed::Feed;
use crate::gateways::Gateways;
use crate::login::Login;
use crate::login_rate::LoginRate;
use crate::metrics::Metrics;
use crate::oidc::Oidc;
use crate::placer::Placer;
use crate::secret::Secret;
use crate::security_events::SecurityEvents;
use crate::server::Connections;
use crate::sessions::{Sessions, Sweep};
use crate::store::redis_jwt::JwtRules;
use crate::tokens::Tokens;
use crate::webhooks::Webhooks;
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
