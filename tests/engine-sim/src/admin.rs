//! The metrics port: `/metrics`, and `/admin` for tests. It works while the API port has a fault.
//!
//! `GET|POST|DELETE /admin/faults`, `GET /admin/stats`, `GET /admin/sessions`, `GET /admin/upgrades`.

use crate::{
    engine::SharedState, faults::Faults, metrics, sessions::SessionView, stats::Stats,
    upgrades::Upgrades,
};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::net::TcpListener;

type EngineState = State<Arc<SharedState>>;

/// Serves the metrics port until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<SharedState>) {
    let mut cut = shared.cut.subscribe();
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/admin/stats", get(stats))
        .route("/admin/sessions", get(sessions))
        .route("/admin/upgrades", get(upgrades))
        .route("/admin/faults", get(faults).post(merge).delete(clear))
        .with_state(shared);
    let shutdown = async move {
        let _ = cut.wait_for(|cut| *cut).await;
    };
    // axum's accept loop only ends by this signal.
    let _ = axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await;
}

async fn metrics_page(State(shared): EngineState) -> Response {
    if shared.faults.read(|faults| faults.no_metrics) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let kind = [(CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (kind, metrics::page(&shared)).into_response()
}

async fn stats(State(shared): EngineState) -> Json<Stats> {
    Json(shared.stats())
}

async fn sessions(State(shared): EngineState) -> Json<Vec<SessionView>> {
    Json(shared.sessions.list())
}

async fn upgrades(State(shared): EngineState) -> Json<Upgrades> {
    Json(shared.upgrades.latest())
}

async fn faults(State(shared): EngineState) -> Json<Faults> {
    Json(shared.faults.get())
}

async fn merge(
    State(shared): EngineState,
    Json(change): Json<Map<String, Value>>,
) -> Result<Json<Faults>, (StatusCode, String)> {
    let bad_request = |error: crate::FaultError| (StatusCode::BAD_REQUEST, format!("{error}\n"));
    shared.faults.merge(change).map(Json).map_err(bad_request)
}

async fn clear(State(shared): EngineState) -> Json<Faults> {
    shared.faults.clear();
    Json(shared.faults.get())
}
