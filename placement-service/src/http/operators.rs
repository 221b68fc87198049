//! What operators and their machines ask: is it alive, is it ready, what has it counted.

use super::App;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /health/ready`: the store answers, and every engine has been looked at once.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let store = app.sessions.ready().await.is_ok();
    let fleet = app.placer.is_ready();
    let ready = store && fleet;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Json(json!({ "ready": ready, "store": store, "fleet": fleet }));
    (status, body).into_response()
}

/// `GET /metrics`, in the OpenMetrics text format.
pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &app.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
