//! The routes of every listener, and what they share. A rejection leaves the service as problem+json, which `problem`
//! builds. Handlers read requests and build responses; decisions are made in other groups.

mod bearer;
pub mod body;
pub mod browsers;
pub mod compat;
mod gateways;
mod health;
mod openapi;
pub mod operators;
pub mod paths;
pub mod problem;
pub mod reloads;
mod security_events;
pub mod server;
pub mod state;

use crate::core::request_id::with_request_id;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use body::MAX_BODY_BYTES;
use openapi::BROWSERS;
use problem::{HttpProblem, ResponseReason};
use state::App;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

pub use browsers::cookies::LoginCookie;
pub use browsers::device_cookie::DeviceCookie;
pub use browsers::pages::Pages;
pub use operators::clients::{ClientSecret, Clients};

/// The header in which Envoy sends the id of a request.
const REQUEST_ID_HEADER: &str = "x-request-id";

/// The pattern of every route of every listener: the values of the label `route` of the metric `http_requests`.
static ROUTE_PATTERNS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
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
    with_shared_layers(routes(), app)
}

/// The routes of `compat.mira`.
pub fn mira_router(app: App) -> Router {
    with_shared_layers(compat::mira::routes(), app)
}

/// The routes of `compat.session_service`.
pub fn session_service_router(app: App) -> Router {
    with_shared_layers(compat::session_service::routes(), app)
}

fn routes() -> OpenApiRouter<App> {
    openapi::routes()
        .routes(routes!(gateways::placements::place))
        .routes(routes!(gateways::tokens::token))
        .routes(routes!(gateways::grpc::serve_calls))
        .routes(
            routes!(gateways::events::report_streams)
                .layer(DefaultBodyLimit::max(gateways::events::MAX_REPORT_BYTES)),
        )
        .routes(routes!(operators::affinities::list_affinities))
        .routes(routes!(operators::affinities::release_affinity))
        .routes(routes!(operators::engines::explain_placement))
        .routes(routes!(operators::engines::list_engines))
        .routes(routes!(
            operators::engines::drain_engine,
            operators::engines::undrain_engine
        ))
        .routes(routes!(operators::gateways::list_gateways))
        .routes(routes!(
            operators::gateways::drain_gateway,
            operators::gateways::undrain_gateway
        ))
        .routes(routes!(operators::streams::list_streams))
        .routes(routes!(operators::streams::close_stream))
        .routes(routes!(
            operators::sessions::list_sessions,
            operators::sessions::end_account_sessions
        ))
        .routes(routes!(
            operators::sessions::show_session,
            operators::sessions::end_session
        ))
        .routes(routes!(operators::child_sessions::start_child))
        .routes(routes!(operators::child_sessions::complete_child))
        .routes(routes!(operators::events::read_events))
        .routes(routes!(operators::reload::show_config))
        .routes(routes!(operators::reload::reload))
        .routes(routes!(operators::webhooks::list_dead_letters))
        .routes(routes!(operators::webhooks::retry_dead_letter))
        .routes(routes!(demo_page))
        .routes(routes!(
            browsers::login::login_page,
            browsers::login::log_in
        ))
        .routes(routes!(browsers::login::log_out))
        .routes(routes!(browsers::account::account_page))
        .routes(routes!(browsers::account::list_own_sessions))
        .routes(routes!(browsers::account::end_own_sessions))
        .routes(routes!(browsers::account::change_own_password))
        .routes(routes!(browsers::oidc::redirect_to_provider))
        .routes(routes!(browsers::oidc::provider_callback))
        .routes(routes!(browsers::oidc::back_channel_logout))
        .routes(routes!(browsers::session::show_own_session))
        .routes(routes!(browsers::session::list_own_placements))
        .routes(routes!(browsers::session::renew_session))
        .routes(routes!(browsers::assets::serve_asset))
        .routes(routes!(security_events::receive))
        .routes(routes!(browsers::session::is_authenticated))
        .routes(routes!(gateways::tokens::jwks))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Adds what the routes of every listener share: the OpenAPI document, rejections, metrics and the body limit.
fn with_shared_layers(routes: OpenApiRouter<App>, app: App) -> Router {
    openapi::with_document(routes)
        .fallback(async || HttpProblem::not_found())
        .method_not_allowed_fallback(async || HttpProblem::method_not_allowed())
        .layer(from_fn_with_state(app.clone(), count_response))
        .layer(from_fn(serve_with_request_id))
        .layer(map_response(forbid_sniffing))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(app)
}

/// `GET /`: the demo page.
#[utoipa::path(get, path = "/", tag = BROWSERS, responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
async fn demo_page(State(app): State<App>) -> Response {
    app.pages.demo()
}

/// Forbids browsers to guess another type than the declared one, such as HTML in JSON.
async fn forbid_sniffing(mut response: Response) -> Response {
    let nosniff = HeaderValue::from_static("nosniff");
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Serves the request with its `x-request-id`.
async fn serve_with_request_id(request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID_HEADER).cloned();
    let id = id.as_ref().and_then(|id| id.to_str().ok());
    with_request_id(id, next.run(request)).await
}

/// Counts the response, and the reason of a rejection.
async fn count_response(State(app): State<App>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched
        .and_then(|path| ROUTE_PATTERNS.get(path.as_str()))
        .map_or("other", String::as_str);
    let response = next.run(request).await;
    app.metrics
        .count_http_request(route, response.status().as_u16());
    if let Some(ResponseReason(reason)) = response.extensions().get() {
        app.metrics.count_rejection(reason);
    }
    response
}
