//! `POST /v1/placements` for the gateways: a cookie and a path in, an engine and the token for it out.
//! When the gateway gives up, its connection ends and this future with it, and so does the placement.

use super::App;
use super::body::{self, RawBody};
use super::gateways;
use super::problem::HttpProblem;
use crate::placer::PlaceRequest;
use axum::Json;
use axum::extract::State;
use berth_api::{PlacementAnswer, PlacementRequest};

/// Places one WebSocket. Counts as activity of its session.
pub(super) async fn place(
    State(app): State<App>,
    RawBody(body): RawBody,
) -> Result<Json<PlacementAnswer>, HttpProblem> {
    let request: PlacementRequest = body::json(&body)?;
    let session = gateways::session(&app, &request.session).await?;
    let minted = app.tokens.mint(&session)?;
    let placed = app
        .placer
        .place(PlaceRequest {
            session: &session,
            token: &minted.token,
            path: &request.path,
            tab: request.tab.as_deref(),
        })
        .await?;
    Ok(Json(PlacementAnswer {
        token: minted.token.clone(),
        token_expires_at: minted.expires_at,
        session_expires_at: session.expires_at,
        session_ref: session.session_ref.clone(),
        cluster: placed.cluster,
        destination: placed.destination,
        path: placed.path,
        set_headers: placed.set_headers,
        stream: placed.stream,
    }))
}
