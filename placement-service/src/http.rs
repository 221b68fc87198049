//! The HTTP surface: which route leads to which use case. Everything that leaves here as a refusal is
//! problem+json, made in `problem`.

mod assets;
pub mod body;
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
mod login_response;
mod oidc;
mod operators;
mod paths;
mod pages;
mod placements;
pub mod problem;
mod security_events;
mod session;
pub mod session_requests;
mod sessions;
pub mod state;
mod tokens;
mod webhooks;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use body::MAX_BODY_BYTES;
use document::BROWSERS;
use problem::{HttpProblem, RefusedFor};
use state::App;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

pub use clients::{ClientSecret, Clients};
pub use cookies::LoginCookie;
pub use device_cookie::DeviceCookie;
pub use pages::Pages;

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

/// The routes of `compat.mira`.
pub fn mira_router(app: App) -> Router {
    finished(compat::mira::routes(), app)
}

/// The routes of `compat.session_service`.
pub fn session_service_router(app: App) -> Router {
    finished(compat::session_service::routes(), app)
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
