//! `/v1/engines` and `/v1/placements/explain`: operators list engines, drain them, and ask why an engine would be
//! selected.

use super::auth::OperatorAuth;
use super::query::{parse_drain_duration, parse_query};
use crate::http::openapi::{OPERATORS, ProblemResponse};
use crate::http::paths::{DRAIN_PATH, ENGINES_PATH, EXPLAIN_PATH};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::placement::PlaceRequest;
use crate::placement::explain::PlacementExplanation;
use crate::sessions::{LiveSession, store_down};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use berth_api::RejectReason;
use berth_scheduler::engine::Engine;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Engines)]
pub(in crate::http) struct EnginesResponse {
    engines: Vec<EngineView>,
}

/// One engine.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EngineView {
    pool: String,
    engine: String,
    address: String,
    state: &'static str,
    /// The sessions of the last probe, and those that began after it.
    sessions: u32,
    reserved: u32,
    /// The streams that gateways report as open.
    streams: u32,
    /// MB.
    memory_free: Option<f64>,
    /// The share that is in use, 0 to 1.
    cpu: Option<f64>,
    /// The engine gets no new sessions.
    draining: bool,
    /// When an operator or discovery drained the engine, in Unix seconds; absent if it is not drained.
    drained_at: Option<u64>,
    /// The time over which its WebSockets are closed, in seconds.
    drained_over_s: Option<f64>,
}

impl EngineView {
    fn from_engine(app: &App, pool: &str, engine: &Engine) -> Self {
        let name = engine.name.as_str();
        let accounting = engine.accounting.snapshot(Instant::now());
        let drain = app.drains.get(pool, name);
        let load = engine.load.as_deref();
        Self {
            pool: pool.to_owned(),
            engine: name.to_owned(),
            address: engine.endpoint.api.to_string(),
            state: engine.state.as_str(),
            sessions: accounting.sessions(load.and_then(|l| l.sessions)),
            reserved: accounting.reserved,
            streams: accounting.open,
            memory_free: load.and_then(|l| l.memory).map(|m| m.free),
            cpu: load.and_then(|l| l.cpu),
            draining: accounting.draining,
            drained_at: drain.map(|drain| drain.since_ms / 1000),
            drained_over_s: drain.map(|drain| Duration::from_millis(drain.over_ms).as_secs_f64()),
        }
    }
}

/// `GET /v1/engines`: all engines, by pool and name.
#[utoipa::path(get, path = ENGINES_PATH, tag = OPERATORS, security(("client" = [])),
    responses((status = 200, body = EnginesResponse), ProblemResponse<403>))]
pub(in crate::http) async fn list_engines(
    _: OperatorAuth,
    State(app): State<App>,
) -> Json<EnginesResponse> {
    let fleet = app.placement.fleet().snapshot();
    let of_pool = |pool: &crate::engines::fleet::PoolFleet| {
        let view = |engine| EngineView::from_engine(&app, &pool.name, engine);
        pool.engines.iter().map(|e| view(e)).collect::<Vec<_>>()
    };
    let engines = fleet.pools().iter().flat_map(of_pool).collect();
    Json(EnginesResponse { engines })
}

/// `POST /v1/engines/{pool}/{engine}/drain?over=60s`: the engine gets no new sessions, and its WebSockets are closed
/// over that time.
#[utoipa::path(post, path = DRAIN_PATH, tag = OPERATORS, security(("client" = [])),
    params(("pool" = String, Path, description = "The pool's name"), ("engine" = String, Path, description = "The engine's name"),
        ("over" = Option<String>, Query, description = "The time over which WebSockets are closed, such as `60s`, the default; at most `24h`")),
    responses((status = 200, body = EngineView), ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<503>))]
pub(in crate::http) async fn drain_engine(
    _: OperatorAuth,
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Json<EngineView>, HttpProblem> {
    let Path((pool, engine)) = path.map_err(|_| HttpProblem::no_such_engine())?;
    let [over] = parse_query(&uri, ["over"])?;
    let duration = parse_drain_duration(over.as_deref())?;
    find_engine(&app, &pool, &engine)?;
    let drained = app.drains.drain(&pool, &engine, duration).await;
    drained.map_err(|e| store_down(&e))?;
    find_engine(&app, &pool, &engine).map(Json)
}

/// `DELETE /v1/engines/{pool}/{engine}/drain`: ends the drain. Works for an engine that is gone, too, because its name
/// may come back. An engine that discovery drains stays drained until discovery ends the drain.
#[utoipa::path(delete, path = DRAIN_PATH, tag = OPERATORS, security(("client" = [])),
    params(("pool" = String, Path, description = "The pool's name"), ("engine" = String, Path, description = "The engine's name")),
    responses((status = 204), ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<409>, ProblemResponse<503>))]
pub(in crate::http) async fn undrain_engine(
    _: OperatorAuth,
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<axum::http::StatusCode, HttpProblem> {
    let Path((pool, engine)) = path.map_err(|_| HttpProblem::no_such_engine())?;
    if app.drains.get(&pool, &engine).is_none() {
        find_engine(&app, &pool, &engine)?;
    }
    let undrained = app.drains.undrain(&pool, &engine).await;
    undrained.map_err(|e| store_down(&e))?;
    match app.drains.get(&pool, &engine) {
        None => Ok(axum::http::StatusCode::NO_CONTENT),
        Some(_) => Err(HttpProblem::drained_by_discovery()),
    }
}

fn find_engine(app: &App, pool: &str, engine: &str) -> Result<EngineView, HttpProblem> {
    let fleet = app.placement.fleet().snapshot();
    let mut pools = fleet.pools().iter();
    let pool_fleet = pools.find(|p| &*p.name == pool);
    let engine = pool_fleet.and_then(|p| p.engines.iter().find(|e| e.name.as_str() == engine));
    let engine = engine.ok_or_else(HttpProblem::no_such_engine)?;
    Ok(EngineView::from_engine(app, pool, engine))
}

/// `GET /v1/placements/explain?path=/app/sales.qvf&session=SID&tab=NAME`: which engine a placement would get now, and
/// why. Without `session`, it explains the placement of a user who has no engine session.
#[utoipa::path(get, path = EXPLAIN_PATH, tag = OPERATORS, security(("client" = [])),
    params(("path" = String, Query, description = "The path of the WebSocket, such as `/app/sales.qvf`"),
        ("host" = Option<String>, Query, description = "The host of the request, for routes with one"),
        ("session" = Option<String>, Query, description = "The public name of a session"),
        ("tab" = Option<String>, Query, description = "The client's name for its tab")),
    responses((status = 200, body = PlacementExplanation), ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<414>, ProblemResponse<500>, ProblemResponse<503>))]
pub(in crate::http) async fn explain_placement(
    _: OperatorAuth,
    State(app): State<App>,
    uri: Uri,
) -> Result<Json<PlacementExplanation>, HttpProblem> {
    let [path, host, session, tab] = parse_query(&uri, ["path", "host", "session", "tab"])?;
    let path = path.ok_or_else(|| HttpProblem::invalid_request("path is missing"))?;
    // The account of the session may be its key.
    let account = match &session {
        Some(sid) => app.sessions.find_active(sid, None).await.ok(),
        None => None,
    };
    let session = Arc::new(LiveSession {
        session_ref: session.unwrap_or_default(),
        account: account.map(|view| view.account).unwrap_or_default(),
        ..LiveSession::default()
    });
    let request = PlaceRequest {
        upgrade: true,
        session: &session,
        token: "",
        host: host.as_deref().unwrap_or_default(),
        path: &path,
        tab: tab.as_deref(),
    };
    let explanation = app.placement.explain(&request)?;
    let key = match app.placement.explain_key(&request).await {
        // Without a session there is no account.
        Err(rejection) if rejection.reason == RejectReason::Forbidden => None,
        key => key?,
    };
    Ok(Json(app.placement.with_key(explanation, key)))
}
