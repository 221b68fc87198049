//! `POST /v1/gateways/{gateway}/events`: a gateway reports its streams, and the answer carries the events to act on.
//! The gateways themselves authenticate; operators have routes of their own.

use super::auth::GatewayAuth;
use crate::core::rejection::Rejection;
use crate::gateways::{GatewayError, checked};
use crate::http::body::{self, RawBody};
use crate::http::openapi::{GATEWAYS, ProblemResponse};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, State};
use berth_api::{
    GATEWAY_EVENTS_PATH, GATEWAY_TIMEOUT_S, GatewayAnswer, GatewayReport, RejectReason,
};
use std::net::SocketAddr;

/// Maximum size of a report, in bytes: lists and names of maximum length fit.
pub(in crate::http) const MAX_REPORT_BYTES: usize = 1024 * 1024;

/// Takes a report. If it is a poll, the response waits for an event.
#[utoipa::path(post, path = GATEWAY_EVENTS_PATH, tag = GATEWAYS, security(("gateway" = [])), request_body = GatewayReport,
    params(("gateway" = String, Path, description = "The name that the gateway generated for itself")),
    responses((status = 200, body = GatewayAnswer), ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<408>, ProblemResponse<413>, ProblemResponse<429>, ProblemResponse<503>))]
pub(in crate::http) async fn report_streams(
    _: GatewayAuth,
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    path: Result<Path<String>, PathRejection>,
    RawBody(body): RawBody,
) -> Result<Json<GatewayAnswer>, HttpProblem> {
    let Path(gateway) = path.map_err(|_| HttpProblem::invalid_request("gateway is not UTF-8"))?;
    let report: GatewayReport = body::parse_json(&body)?;
    let cursor = checked(&gateway, &report).map_err(HttpProblem::invalid_request)?;
    // Many polls may wait at once, so they must not hold their bodies.
    drop(body);
    let answer = app
        .gateways
        .report(&gateway, peer.ip(), report, cursor)
        .await;
    Ok(Json(answer.map_err(to_problem)?))
}

fn to_problem(error: GatewayError) -> HttpProblem {
    // By then the service has removed gateways that no longer report, which frees capacity.
    let timeout_s = u32::try_from(GATEWAY_TIMEOUT_S).unwrap_or(u32::MAX);
    match error {
        GatewayError::TooManyGateways => {
            HttpProblem::too_many_gateways().with_retry_after(timeout_s)
        }
        GatewayError::TooManyStreams => {
            HttpProblem::too_many_gateway_streams().with_retry_after(timeout_s)
        }
        GatewayError::LogUnavailable => Rejection::new(RejectReason::StoreDown)
            .with_retry_after(1)
            .into(),
    }
}
