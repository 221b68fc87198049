//! `POST /v1/placements` for gateways: takes a cookie or a token, and a path; answers with an engine and the token for
//! it. If the gateway gives up, its request ends and this future is dropped, which releases the placement.

use super::auth::GatewayAuth;
use super::refusal_log::log_refusal;
use super::tokens;
use crate::core::request_id::with_request_id;
use crate::http::body::{self, RawBody};
use crate::http::openapi::{GATEWAYS, ProblemResponse};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::placement::PlaceRequest;
use crate::placement::decision_log::Candidate;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use berth_api::{PLACEMENTS_PATH, PlacementAnswer, PlacementRequest, RejectReason};
use serde::Serialize;
use utoipa::ToSchema;

/// `1` requests an explanation of the placement, in the field `explanation` of the answer. It has an effect only for
/// sessions with the role `admin`. Envoy's listener and the filter remove it from requests of clients like every
/// `x-berth-*` header: it is for direct calls of the service.
const EXPLAIN_HEADER: &str = "x-berth-explain";
const ADMIN_ROLE: &str = "admin";

/// A placement and, if requested, its explanation.
#[derive(Serialize)]
#[serde(untagged)]
pub(in crate::http) enum PlacementResponse {
    Plain(PlacementAnswer),
    Explained(ExplainedPlacement),
}

#[derive(Serialize, ToSchema)]
#[schema(as = Placement)]
pub(in crate::http) struct ExplainedPlacement {
    #[serde(flatten)]
    placement: PlacementAnswer,
    /// Absent unless requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Vec<Candidate>>,
}

/// Places one WebSocket, or one plain request. Counts as activity of its session, if a cookie names it.
#[utoipa::path(post, path = PLACEMENTS_PATH, tag = GATEWAYS, security(("gateway" = [])), request_body = PlacementRequest,
    params(("x-berth-explain" = Option<String>, Header, description = "`1` requests an explanation; for the role `admin` only")),
    responses((status = 200, body = ExplainedPlacement), ProblemResponse<400>, ProblemResponse<401>, ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<408>, ProblemResponse<413>, ProblemResponse<414>, ProblemResponse<426>, ProblemResponse<429>, ProblemResponse<440>, ProblemResponse<500>, ProblemResponse<503>))]
pub(in crate::http) async fn place(
    _: GatewayAuth,
    State(app): State<App>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Json<PlacementResponse>, HttpProblem> {
    let request: PlacementRequest = body::parse_json(&body)?;
    let explain_requested = headers
        .get(EXPLAIN_HEADER)
        .is_some_and(|value| value == "1");
    place_request(&app, &request, explain_requested)
        .await
        .map(Json)
}

/// Places one request under the id of the client's request, with an explanation if it is requested and the session has the role `admin`.
pub(in crate::http) async fn place_request(
    app: &App,
    request: &PlacementRequest,
    explain_requested: bool,
) -> Result<PlacementResponse, HttpProblem> {
    let id = request.request_id.as_deref();
    with_request_id(id, async {
        let placed = place_session(app, request, explain_requested).await;
        placed.inspect_err(log_refusal)
    })
    .await
}

async fn place_session(
    app: &App,
    request: &PlacementRequest,
    explain_requested: bool,
) -> Result<PlacementResponse, HttpProblem> {
    let (cookie, token) = (request.session.as_deref(), request.token.as_deref());
    let (session, issued) = tokens::resolve_identity(app, cookie, token).await?;
    let explain = explain_requested && session.roles.iter().any(|role| role == ADMIN_ROLE);
    let request = PlaceRequest {
        session: &session,
        token: &issued.token,
        host: &request.host,
        path: &request.path,
        upgrade: request.upgrade,
        tab: request.tab.as_deref(),
    };
    let (placed, explanation) = if explain {
        let (placed, explanation) = app.placement.place_explained(request).await?;
        (placed, Some(explanation))
    } else {
        (app.placement.place(request).await?, None)
    };
    // The session may have ended during the placement; then the end did not close this stream, which is not open yet.
    if !app.sessions.is_still_active(&session) {
        app.placement.release_placement(&placed);
        app.placement.end_login(&session.session_ref);
        return Err(RejectReason::UnknownSession.into());
    }
    tracing::debug!(
        session = session.session_ref,
        pool = placed.pool,
        engine = placed.engine,
        reason = placed.reason,
        "placed"
    );
    let placement = PlacementAnswer {
        token: issued.token.clone(),
        token_expires_at: issued.expires_at,
        session_expires_at: session.expires_at,
        session_ref: session.session_ref.clone(),
        cluster: placed.cluster,
        destination: placed.destination,
        path: placed.path,
        set_headers: placed.set_headers,
        stream: placed.stream,
        pool: placed.pool,
        engine: placed.engine,
        reason: placed.reason.to_owned(),
        affinity: placed.affinity,
    };
    Ok(match explanation {
        None => PlacementResponse::Plain(placement),
        explanation => PlacementResponse::Explained(ExplainedPlacement {
            placement,
            explanation,
        }),
    })
}
