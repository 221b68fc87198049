//! The HTTP surface: which route leads to which use case. Everything that leaves here as a refusal is
//! problem+json, made in `problem`.

mod assets;
mod body;
mod calls;
mod clients;
pub mod compat;
mod cookies;
pub mod cross_site;
mod device_cookie;
mod document;
mod engines;
pub mod events;
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
use crate::server::Connections;
use crate::sessions::{Sessions, Sweep};
use crate::store::redis_jwt::JwtRules;
use crate::tokens::Tokens;
use crate::webhooks::Webhooks;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use document::BROWSERS;
use problem::{HttpProblem, RefusedFor};
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

pub use clients::Clients;
pub use cookies::LoginCookie;
pub use device_cookie::DeviceCookie;
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

/// The pattern of every route of every listener, as `http_requests` counts it.
static PATHS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    [
        routes(),
        compat::mira::routes(),
        compat::session_service::routes(),
    ]
    .into_iter()
    .flat_map(|routes| routes.into_openapi().paths.paths.into_keys())
    .collect()
});

/// The routes of the service.
pub fn router(app: App) -> Router {
    finished(routes(), app)
}

fn routes() -> OpenApiRouter<App> {
    document::routes()
        .routes(routes!(placements::place))
        .routes(routes!(tokens::token))
        .routes(routes!(calls::calls))
        .routes(
            routes!(gateway_events::report)
                .layer(DefaultBodyLimit::max(gateway_events::MAX_REPORT_BYTES)),
        )
        .routes(routes!(engines::explain))
        .routes(routes!(engines::list))
        .routes(routes!(engines::drain, engines::undrain))
        .routes(routes!(gateway_events::list))
        .routes(routes!(sessions::list, sessions::end_all))
        .routes(routes!(sessions::show, sessions::end))
        .routes(routes!(families::start))
        .routes(routes!(families::complete))
        .routes(routes!(events::read))
        .routes(routes!(webhooks::dead_letters))
        .routes(routes!(webhooks::retry))
        .routes(routes!(demo))
        .routes(routes!(login::page, login::log_in))
        .routes(routes!(login::log_out))
        .routes(routes!(oidc::begin))
        .routes(routes!(oidc::callback))
        .routes(routes!(oidc::back_channel))
        .routes(routes!(session::own))
        .routes(routes!(session::placements))
        .routes(routes!(session::renew))
        .routes(routes!(assets::file))
        .routes(routes!(security_events::receive))
        .routes(routes!(session::is_authenticated))
        .routes(routes!(tokens::jwks))
        .routes(routes!(operators::live))
        .routes(routes!(operators::ready))
        .routes(routes!(operators::metrics))
}

/// What every listener's routes share: their document, refusals, counts and limits.
fn finished(routes: OpenApiRouter<App>, app: App) -> Router {
    document::told(routes)
        .fallback(async || HttpProblem::not_found())
        .method_not_allowed_fallback(async || HttpProblem::method_not_allowed())
        .layer(from_fn_with_state(app.clone(), count))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app)
}

/// `GET /`: the demonstration.
#[utoipa::path(get, path = "/", tag = BROWSERS, responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
async fn demo(State(app): State<App>) -> Response {
    app.pages.demo()
}

/// Counts the answer, and the reason if it is a refusal.
async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched
        .and_then(|path| PATHS.get(path.as_str()))
        .map_or("other", String::as_str);
    let response = next.run(request).await;
    app.metrics.http_request(route, response.status().as_u16());
    if let Some(RefusedFor(reason)) = response.extensions().get() {
        app.metrics.refused(reason);
    }
    response
}
