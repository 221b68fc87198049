//! The routes of every listener, and what they share. A rejection leaves the service as problem+json, which `problem`
//! builds. Handlers read requests and build responses; decisions are made in other groups.

pub mod body;
pub mod browsers;
pub mod compat;
mod gateways;
mod health;
mod openapi;
pub mod operators;
mod paths;
pub mod problem;
mod security_events;
pub mod server;
pub mod state;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use body::MAX_BODY_BYTES;
use openapi::BROWSERS;
use problem::{HttpProblem, RefusedFor};
use state::App;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

pub use browsers::cookies::LoginCookie;
pub use browsers::device_cookie::DeviceCookie;
pub use browsers::pages::Pages;
pub use operators::clients::{ClientSecret, Clients};

/// The pattern of every route of every listener: the values of the label `route` of the metric `http_requests`.
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
    openapi::routes()
        .routes(routes!(gateways::placements::place))
        .routes(routes!(gateways::tokens::token))
        .routes(routes!(gateways::grpc::calls))
        .routes(
            routes!(gateways::events::report)
                .layer(DefaultBodyLimit::max(gateways::events::MAX_REPORT_BYTES)),
        )
        .routes(routes!(operators::engines::explain))
        .routes(routes!(operators::engines::list))
        .routes(routes!(
            operators::engines::drain,
            operators::engines::undrain
        ))
        .routes(routes!(gateways::events::list))
        .routes(routes!(
            operators::sessions::list,
            operators::sessions::end_all
        ))
        .routes(routes!(operators::sessions::show, operators::sessions::end))
        .routes(routes!(operators::child_sessions::start))
        .routes(routes!(operators::child_sessions::complete))
        .routes(routes!(operators::events::read))
        .routes(routes!(operators::webhooks::dead_letters))
        .routes(routes!(operators::webhooks::retry))
        .routes(routes!(demo))
        .routes(routes!(browsers::login::page, browsers::login::log_in))
        .routes(routes!(browsers::login::log_out))
        .routes(routes!(browsers::oidc::begin))
        .routes(routes!(browsers::oidc::callback))
        .routes(routes!(browsers::oidc::back_channel))
        .routes(routes!(browsers::session::own))
        .routes(routes!(browsers::session::placements))
        .routes(routes!(browsers::session::renew))
        .routes(routes!(browsers::assets::file))
        .routes(routes!(security_events::receive))
        .routes(routes!(browsers::session::is_authenticated))
        .routes(routes!(gateways::tokens::jwks))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Adds what the routes of every listener share: the OpenAPI document, rejections, metrics and the body limit.
fn finished(routes: OpenApiRouter<App>, app: App) -> Router {
    openapi::told(routes)
        .fallback(async || HttpProblem::not_found())
        .method_not_allowed_fallback(async || HttpProblem::method_not_allowed())
        .layer(from_fn_with_state(app.clone(), count))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app)
}

/// `GET /`: the demo page.
#[utoipa::path(get, path = "/", tag = BROWSERS, responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
async fn demo(State(app): State<App>) -> Response {
    app.pages.demo()
}

/// Counts the response, and the reason of a rejection.
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
