//! `POST /v1/placements` for the gateways: a cookie and a path in, an engine and the token for it out.
//! When the gateway gives up, its connection ends and this future with it, and so does the placement.

use super::App;
use super::body::{self, RawBody};
use super::gateways;
use super::problem::HttpProblem;
use crate::placer::PlaceRequest;
use crate::sessions::LiveSession;
use crate::tokens::Minted;
use axum::Json;
use axum::extract::State;
use berth_api::{PlacementAnswer, PlacementRequest, Reason};
use std::sync::Arc;

/// Places one WebSocket. Counts as activity of its session, if a cookie names it.
pub(super) async fn place(
    State(app): State<App>,
    RawBody(body): RawBody,
) -> Result<Json<PlacementAnswer>, HttpProblem> {
    let request: PlacementRequest = body::json(&body)?;
    let (session, minted) = match (&request.session, &request.token) {
        (Some(cookie), None) => by_cookie(&app, cookie).await?,
        (None, Some(token)) => by_token(&app, token).await?,
        _ => return Err(HttpProblem::invalid("session or token, one of them")),
    };
    let placed = app
        .placer
        .place(PlaceRequest {
            session: &session,
            token: &minted.token,
            path: &request.path,
            tab: request.tab.as_deref(),
        })
        .await?;
    // It may have ended while an engine was being found: whoever closes its streams knows nothing of this one.
    if !app.sessions.still_lives(&session) {
        app.placer.take_back(&placed);
        return Err(Reason::UnknownSession.into());
    }
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
        pool: placed.pool,
        engine: placed.engine,
        reason: placed.reason.to_owned(),
    }))
}

async fn by_cookie(
    app: &App,
    cookie: &str,
) -> Result<(Arc<LiveSession>, Arc<Minted>), HttpProblem> {
    let session = gateways::session(app, cookie).await?;
    let minted = app.tokens.mint(&session)?;
    Ok((session, minted))
}

/// The engine gets the very token that the program has brought along.
async fn by_token(app: &App, token: &str) -> Result<(Arc<LiveSession>, Arc<Minted>), HttpProblem> {
    let bearer = app.tokens.verify(token)?;
    let session = app.sessions.of_bearer(token, bearer).await?;
    let minted = Minted::brought_along(token, session.expires_at);
    Ok((Arc::new(session), Arc::new(minted)))
}
