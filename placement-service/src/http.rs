//! The HTTP surface: which route leads to which use case. Everything that leaves here as a refusal is
//! problem+json, made in `problem`.

mod assets;
mod body;
mod calls;
mod clients;
pub mod compat;
mod cookies;
mod cross_site;
mod engines;
mod events;
mod families;
mod gateway_events;
mod gateways;
mod login;
pub mod login_form;
mod oidc;
mod operators;
mod pages;
mod placements;
pub mod problem;
mod security_events;
mod session;
pub mod session_requests;
mod sessions;
mod tokens;
mod webhooks;

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
use crate::sessions::{Sessions, Sweep};
use crate::store::redis_jwt::JwtRules;
use crate::tokens::Tokens;
use crate::webhooks::Webhooks;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use berth_api::{CALLS_PATH, GATEWAY_EVENTS_PATH, PLACEMENTS_PATH, TOKENS_PATH};
use problem::{HttpProblem, RefusedFor};
use prometheus_client::registry::Registry;
use std::sync::Arc;

pub use clients::Clients;
pub use cookies::LoginCookie;
pub use pages::Pages;

/// The largest body that a route takes, in bytes, but for the reports of gateways.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

const ENGINES_PATH: &str = "/v1/engines";
const DRAIN_PATH: &str = "/v1/engines/{pool}/{engine}/drain";
const EXPLAIN_PATH: &str = "/v1/placements/explain";
const GATEWAYS_PATH: &str = "/v1/gateways";
const SESSIONS_PATH: &str = "/v1/sessions";
const DEAD_LETTERS_PATH: &str = "/v1/webhooks/{name}/dead-letters";
const RETRY_PATH: &str = "/v1/webhooks/{name}/dead-letters/{sequence}/retry";
const EVENTS_PATH: &str = "/v1/events";
const SESSION_PATH: &str = "/v1/sessions/{sid}";
const CHILDREN_PATH: &str = "/v1/sessions/{sid}/children";
const COMPLETE_PATH: &str = "/v1/sessions/{sid}/complete";

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
    pub oidc: Oidc,
    pub placer: Arc<Placer>,
    pub drains: Drains,
    pub gateways: Arc<Gateways>,
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
    pub pages: Pages,
}

/// Shared by all requests.
pub type App = Arc<AppState>;

/// Every route, as `http_requests` counts it.
const ROUTES: &[&str] = &[
    PLACEMENTS_PATH,
    TOKENS_PATH,
    CALLS_PATH,
    EXPLAIN_PATH,
    ENGINES_PATH,
    DRAIN_PATH,
    GATEWAY_EVENTS_PATH,
    GATEWAYS_PATH,
    SESSIONS_PATH,
    SESSION_PATH,
    CHILDREN_PATH,
    COMPLETE_PATH,
    EVENTS_PATH,
    DEAD_LETTERS_PATH,
    RETRY_PATH,
    "/",
    "/login",
    "/logout",
    oidc::BEGIN_PATH,
    oidc::CALLBACK_PATH,
    oidc::BACK_CHANNEL_PATH,
    "/session",
    "/session/placements",
    "/session/renew",
    "/berth/{file}",
    "/is-authenticated",
    "/security-events",
    "/.well-known/jwks.json",
    "/health/live",
    "/health/ready",
    "/metrics",
    compat::mira::ENGINES_PATH,
    compat::mira::HEALTH_PATH,
    compat::session_service::DOCUMENT_PATH,
    compat::session_service::SESSION_DOC_PATH,
    compat::session_service::HEALTH_PATH,
    compat::session_service::METRICS_PATH,
];

/// The routes of the service.
pub fn router(app: App) -> Router {
    let gateways = Router::new()
        .route(PLACEMENTS_PATH, post(placements::place))
        .route(TOKENS_PATH, post(tokens::token))
        .route(CALLS_PATH, post(calls::calls))
        .route(
            GATEWAY_EVENTS_PATH,
            post(gateway_events::report)
                .layer(DefaultBodyLimit::max(gateway_events::MAX_REPORT_BYTES)),
        )
        .route_layer(from_fn_with_state(app.clone(), gateways::only));
    let routes = Router::new()
        .merge(gateways)
        .route(EXPLAIN_PATH, get(engines::explain))
        .route(ENGINES_PATH, get(engines::list))
        .route(DRAIN_PATH, post(engines::drain).delete(engines::undrain))
        .route(GATEWAYS_PATH, get(gateway_events::list))
        .route(SESSIONS_PATH, get(sessions::list).delete(sessions::end_all))
        .route(SESSION_PATH, get(sessions::show).delete(sessions::end))
        .route(CHILDREN_PATH, post(families::start))
        .route(COMPLETE_PATH, post(families::complete))
        .route(EVENTS_PATH, get(events::read))
        .route(DEAD_LETTERS_PATH, get(webhooks::dead_letters))
        .route(RETRY_PATH, post(webhooks::retry))
        .route("/", get(demo))
        .route("/login", get(login::page).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route(oidc::BEGIN_PATH, get(oidc::begin))
        .route(oidc::CALLBACK_PATH, get(oidc::callback))
        .route(oidc::BACK_CHANNEL_PATH, post(oidc::back_channel))
        .route("/session", get(session::own))
        .route("/session/placements", get(session::placements))
        .route("/session/renew", post(session::renew))
        .route("/berth/{file}", get(assets::file))
        .route("/security-events", post(security_events::receive))
        .route("/is-authenticated", get(session::is_authenticated))
        .route("/.well-known/jwks.json", get(tokens::jwks))
        .route("/health/live", get(operators::live))
        .route("/health/ready", get(operators::ready))
        .route("/metrics", get(operators::metrics));
    finished(routes, app)
}

/// What every listener's routes share: their refusals, counts and limits.
fn finished(routes: Router<App>, app: App) -> Router {
    routes
        .fallback(async || HttpProblem::not_found())
        .method_not_allowed_fallback(async || HttpProblem::method_not_allowed())
        .layer(from_fn_with_state(app.clone(), count))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app)
}

/// `GET /`: the demonstration.
async fn demo(State(app): State<App>) -> Response {
    app.pages.demo()
}

/// Counts the answer, and the reason if it is a refusal.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched
        .and_then(|path| ROUTES.iter().find(|route| **route == path.as_str()))
        .copied()
        .unwrap_or("other");
    let response = next.run(request).await;
    app.metrics.http_request(route, response.status().as_u16());
    if let Some(RefusedFor(reason)) = response.extensions().get() {
        app.metrics.refused(reason);
    }
    response
}
