//! `POST /v1/tokens` for gateways, and the public keys that verify the tokens.

use super::auth::GatewayAuth;
use super::refusal_log::log_refusal;
use crate::core::rejection::Rejection;
use crate::core::request_id::with_request_id;
use crate::http::body::{self, RawBody};
use crate::http::openapi::{GATEWAYS, OTHERS, ProblemResponse};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::sessions::LiveSession;
use crate::sessions::tokens::IssuedToken;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use berth_api::{RejectReason, TOKENS_PATH, TokenAnswer, TokenRequest};
use std::sync::Arc;

/// `POST /v1/tokens`: takes a cookie and answers with the session's token, which counts as activity. Or takes a
/// client's token and answers with the same token while its session is active.
#[utoipa::path(post, path = TOKENS_PATH, tag = GATEWAYS, security(("gateway" = [])), request_body = TokenRequest,
    responses((status = 200, body = TokenAnswer), ProblemResponse<400>, ProblemResponse<401>, ProblemResponse<403>, ProblemResponse<408>, ProblemResponse<413>, ProblemResponse<440>, ProblemResponse<500>, ProblemResponse<503>))]
pub(in crate::http) async fn token(
    _: GatewayAuth,
    State(app): State<App>,
    RawBody(body): RawBody,
) -> Result<Json<TokenAnswer>, HttpProblem> {
    let request = body::parse_json(&body)?;
    issue_token(&app, &request).await.map(Json)
}

/// The token of the session that the cookie or the token identifies.
pub(in crate::http) async fn issue_token(
    app: &App,
    request: &TokenRequest,
) -> Result<TokenAnswer, HttpProblem> {
    let TokenRequest {
        session,
        token,
        request_id,
    } = request;
    let identity = with_request_id(request_id.as_deref(), async {
        let identity = resolve_identity(app, session.as_deref(), token.as_deref()).await;
        identity.inspect_err(log_refusal)
    });
    let (session, issued) = identity.await?;
    Ok(TokenAnswer {
        token: issued.token.clone(),
        token_expires_at: issued.expires_at,
        session_expires_at: session.expires_at,
        session_ref: session.session_ref.clone(),
        account: session.account.clone(),
        display_name: session.display_name.clone(),
        roles: session.roles.clone(),
    })
}

/// Finds the session by a cookie or a token, and the token that authenticates it to the engine.
pub(in crate::http) async fn resolve_identity(
    app: &App,
    cookie: Option<&str>,
    token: Option<&str>,
) -> Result<(Arc<LiveSession>, Arc<IssuedToken>), HttpProblem> {
    match (cookie, token) {
        (Some(cookie), None) => {
            let session = resolve_session(app, cookie).await?;
            let issued = app.tokens.issue(&session)?;
            Ok((session, issued))
        }
        // The client's own token is passed on unchanged.
        (None, Some(token)) => {
            let bearer = app.tokens.verify(token)?;
            let session = app
                .sessions
                .resolve_bearer(token, bearer, &app.tokens)
                .await?;
            let issued = IssuedToken::from_client(token, session.expires_at);
            Ok((Arc::new(session), Arc::new(issued)))
        }
        _ => Err(HttpProblem::invalid_request(
            "session or token, one of them",
        )),
    }
}

/// Finds the session of a login cookie. The rejection of a stale cookie carries the anonymous cookie.
async fn resolve_session(app: &App, cookie: &str) -> Result<Arc<LiveSession>, HttpProblem> {
    app.sessions.resolve(cookie).await.map_err(|rejection| {
        let stale = is_stale(&rejection);
        let problem = HttpProblem::from(rejection);
        if stale {
            let id = app.sessions.anonymous_id(cookie);
            problem.with_anonymous_cookie(app.cookie.set_anonymous(&id))
        } else {
            problem
        }
    })
}

/// Whether the cookie names a session that has ended, or no session.
pub(in crate::http) fn is_stale(rejection: &Rejection) -> bool {
    matches!(
        rejection.reason,
        RejectReason::UnknownSession | RejectReason::SessionExpired
    )
}

/// `GET /.well-known/jwks.json` (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = OTHERS,
    responses((status = 200, description = "A JWK set", body = Map<String, Value>)))]
pub(in crate::http) async fn jwks(State(app): State<App>) -> Response {
    let cache = (header::CACHE_CONTROL, "public, max-age=300");
    ([cache], Json(app.tokens.jwks())).into_response()
}
