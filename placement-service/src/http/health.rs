//! The routes for liveness, readiness and metrics. Ready means that the store answers and that every engine has been
//! probed once. A store that refuses writes does so for every replica, and sessions that exist go on: it is reported,
//! and takes no replica out of service.

use super::openapi::OPERATORS;
use super::state::App;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

const METRICS_PATH: &str = "/metrics";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the service can serve requests.
#[derive(Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    /// The store answers.
    store: bool,
    /// The store has accepted the latest writes. Does not affect `ready`.
    store_writable: bool,
    /// Every engine has been probed once.
    fleet: bool,
}

/// `GET /health/live`: the process answers.
#[utoipa::path(get, path = "/health/live", tag = OPERATORS, responses((status = 200, description = "`ok`", body = String, content_type = "text/plain")))]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /health/ready`: the store answers, and every engine has been probed once.
#[utoipa::path(get, path = "/health/ready", tag = OPERATORS,
    responses((status = 200, description = "Ready", body = Readiness), (status = 503, description = "Not ready", body = Readiness)))]
pub(super) async fn ready(State(app): State<App>) -> Response {
    let store = app.sessions.ready().await.is_ok();
    let fleet = app.placement.is_ready();
    let is_ready = store && fleet;
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Json(Readiness {
        ready: is_ready,
        store,
        store_writable: app.sessions.store_writable(),
        fleet,
    });
    (status, body).into_response()
}

/// `GET /metrics`, in the OpenMetrics text format.
#[utoipa::path(get, path = METRICS_PATH, tag = OPERATORS,
    responses((status = 200, description = "OpenMetrics", body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &app.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
