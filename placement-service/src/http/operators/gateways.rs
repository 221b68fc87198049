//! `/v1/gateways`: operators list the gateways of all replicas, and drain Envoys before they stop.

use super::auth::OperatorAuth;
use super::query::{parse_drain_duration, parse_query};
use crate::gateways::{GatewayDrain, GatewayView};
use crate::http::openapi::{OPERATORS, ProblemResponse};
use crate::http::paths::{GATEWAY_DRAIN_PATH, GATEWAYS_PATH};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::sessions::store_down;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use berth_api::{MAX_NODE_ID, is_node_id};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Gateways)]
pub(in crate::http) struct GatewaysResponse {
    gateways: Vec<GatewayView>,
    /// False: the store does not answer, so only the gateways of this replica are listed.
    complete: bool,
}

/// `GET /v1/gateways`: the gateways of all replicas.
#[utoipa::path(get, path = GATEWAYS_PATH, tag = OPERATORS, security(("client" = [])),
    responses((status = 200, body = GatewaysResponse), ProblemResponse<403>))]
pub(in crate::http) async fn list_gateways(
    _: OperatorAuth,
    State(app): State<App>,
) -> Json<GatewaysResponse> {
    let (gateways, complete) = app.gateway_drains.gateways().await;
    Json(GatewaysResponse { gateways, complete })
}

/// A drained Envoy.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DrainedGateway {
    node: String,
    /// How many of its workers report.
    gateways: usize,
    /// The WebSockets that they report as open.
    streams: usize,
    /// When the drain began, in Unix seconds.
    drained_at: u64,
    /// The time over which its WebSockets are closed, in seconds.
    drained_over_s: f64,
    /// Its workers refuse new WebSockets.
    refusing: bool,
}

/// `POST /v1/gateways/{node}/drain?over=60s&refuse=true`: the workers of that Envoy close their WebSockets over that
/// time. An Envoy that reports nothing at the time can be drained, too: it may open a WebSocket later. One that starts
/// later under the same id is not drained.
#[utoipa::path(post, path = GATEWAY_DRAIN_PATH, tag = OPERATORS, security(("client" = [])),
    params(("node" = String, Path, description = "The `node.id` of the Envoy"),
        ("over" = Option<String>, Query, description = "The time over which WebSockets are closed, such as `60s`, the default; at most `24h`"),
        ("refuse" = Option<bool>, Query, description = "Whether new WebSockets are refused with 503 `gateway-draining`; `false` is the default")),
    responses((status = 200, body = DrainedGateway), ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<503>))]
pub(in crate::http) async fn drain_gateway(
    _: OperatorAuth,
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Json<DrainedGateway>, HttpProblem> {
    let node = checked_node(path)?;
    let [over, refuse] = parse_query(&uri, ["over", "refuse"])?;
    let over = parse_drain_duration(over.as_deref())?;
    let refuse = refuse.map_or(Ok(false), |text| text.parse());
    let refuse = refuse.map_err(|_| HttpProblem::invalid_request("refuse: true or false"))?;
    let drained = app.gateway_drains.drain(&node, over, refuse).await;
    let GatewayDrain { drain, refuse } = drained.map_err(|e| store_down(&e))?;
    let (mut gateways, _) = app.gateway_drains.gateways().await;
    gateways.retain(|gateway| gateway.node.as_ref() == Some(&node));
    Ok(Json(DrainedGateway {
        node,
        gateways: gateways.len(),
        streams: gateways.iter().map(|gateway| gateway.streams).sum(),
        drained_at: drain.since_ms / 1000,
        drained_over_s: Duration::from_millis(drain.over_ms).as_secs_f64(),
        refusing: refuse,
    }))
}

/// `DELETE /v1/gateways/{node}/drain`: ends the drain. Does nothing if there is none.
#[utoipa::path(delete, path = GATEWAY_DRAIN_PATH, tag = OPERATORS, security(("client" = [])),
    params(("node" = String, Path, description = "The `node.id` of the Envoy")),
    responses((status = 204), ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<503>))]
pub(in crate::http) async fn undrain_gateway(
    _: OperatorAuth,
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, HttpProblem> {
    let node = checked_node(path)?;
    let undrained = app.gateway_drains.undrain(&node).await;
    undrained.map_err(|e| store_down(&e))?;
    Ok(StatusCode::NO_CONTENT)
}

fn checked_node(path: Result<Path<String>, PathRejection>) -> Result<String, HttpProblem> {
    let node = path.ok().map(|Path(node)| node);
    node.filter(|node| is_node_id(node)).ok_or_else(|| {
        let fault = format!("node is not 1 to {MAX_NODE_ID} printable ASCII characters");
        HttpProblem::invalid_request(fault)
    })
}
