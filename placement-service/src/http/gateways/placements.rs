//! `POST /v1/placements` for the gateways: a cookie and a path in, an engine and the token for it out.
//! When the gateway gives up, its connection ends and this future with it, and so does the placement.

use super::auth::Gateway;
use super::tokens;
use crate::http::body::{self, RawBody};
use crate::http::openapi::{GATEWAYS, Refused};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::placement::PlaceRequest;
use crate::placement::explain::Candidate;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use berth_api::{PLACEMENTS_PATH, PlacementAnswer, PlacementRequest, Reason};
use serde::Serialize;
use utoipa::ToSchema;

/// `1` asks for the reasons of the placement, in `explanation` of the answer. For sessions with the role
/// `admin`; from others it says nothing. Envoy's listener and the filter remove it, like every `x-berth-*`
/// header: it is for whoever calls the service itself.
const EXPLAIN: &str = "x-berth-explain";
const ADMIN: &str = "admin";

/// A placement and, where asked for, its reasons.
#[derive(Serialize)]
#[serde(untagged)]
pub(in crate::http) enum Answer {
    Plain(PlacementAnswer),
    Explained(ExplainedPlacement),
}

#[derive(Serialize, ToSchema)]
#[schema(as = Placement)]
pub(in crate::http) struct ExplainedPlacement {
    #[serde(flatten)]
    placement: PlacementAnswer,
    /// Absent unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Vec<Candidate>>,
}

/// Places one WebSocket. Counts as activity of its session, if a cookie names it.
#[utoipa::path(post, path = PLACEMENTS_PATH, tag = GATEWAYS, security(("gateway" = [])), request_body = PlacementRequest,
    params(("x-berth-explain" = Option<String>, Header, description = "`1` asks for the reasons, for the role `admin`")),
    responses((status = 200, body = ExplainedPlacement), Refused<400>, Refused<401>, Refused<403>, Refused<404>, Refused<408>, Refused<413>, Refused<429>, Refused<440>, Refused<500>, Refused<503>))]
pub(in crate::http) async fn place(
    _: Gateway,
    State(app): State<App>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Json<Answer>, HttpProblem> {
    let request: PlacementRequest = body::json(&body)?;
    let wanted = headers.get(EXPLAIN).is_some_and(|value| value == "1");
    placed(&app, &request, wanted).await.map(Json)
}

/// Places one WebSocket; with the reasons where they are `wanted`, and the session may know them.
pub(in crate::http) async fn placed(
    app: &App,
    request: &PlacementRequest,
    wanted: bool,
) -> Result<Answer, HttpProblem> {
    let (cookie, token) = (request.session.as_deref(), request.token.as_deref());
    let (session, minted) = tokens::asker(app, cookie, token).await?;
    let explain = wanted && session.roles.iter().any(|role| role == ADMIN);
    let request = PlaceRequest {
        session: &session,
        token: &minted.token,
        path: &request.path,
        tab: request.tab.as_deref(),
    };
    let (placed, explanation) = if explain {
        let (placed, why) = app.placer.place_explained(request).await?;
        (placed, Some(why))
    } else {
        (app.placer.place(request).await?, None)
    };
    // It may have ended while an engine was being found: whoever closes its streams knows nothing of this one.
    if !app.sessions.still_lives(&session) {
        app.placer.take_back(&placed);
        return Err(Reason::UnknownSession.into());
    }
    let placement = PlacementAnswer {
        token: minted.token.clone(),
        token_expires_at: minted.expires_at,
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
    };
    Ok(match explanation {
        None => Answer::Plain(placement),
        explanation => Answer::Explained(ExplainedPlacement {
            placement,
            explanation,
        }),
    })
}
