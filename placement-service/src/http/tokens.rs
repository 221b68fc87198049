//! `POST /v1/tokens` for the gateways, and the public keys that the tokens are verified with.

use super::App;
use super::body::{self, RawBody};
use super::gateways;
use super::problem::HttpProblem;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use berth_api::{TokenAnswer, TokenRequest};

/// `POST /v1/tokens`: a cookie in, the session's token out. Counts as activity.
pub(super) async fn token(
    State(app): State<App>,
    RawBody(body): RawBody,
) -> Result<Json<TokenAnswer>, HttpProblem> {
    let request = body::json(&body)?;
    answer(&app, &request).await.map(Json)
}

/// The token of the session that the cookie names.
pub(super) async fn answer(app: &App, request: &TokenRequest) -> Result<TokenAnswer, HttpProblem> {
    let session = gateways::session(app, &request.session).await?;
    let minted = app.tokens.mint(&session)?;
    Ok(TokenAnswer {
        token: minted.token.clone(),
        token_expires_at: minted.expires_at,
        session_expires_at: session.expires_at,
        session_ref: session.session_ref.clone(),
        account: session.account.clone(),
        roles: session.roles.clone(),
    })
}

/// `GET /.well-known/jwks.json` (RFC 7517).
pub(super) async fn jwks(State(app): State<App>) -> Response {
    let cache = (header::CACHE_CONTROL, "public, max-age=300");
    ([cache], Json(app.tokens.jwks())).into_response()
}
