//! What all routes for gateways share: the authentication of the gateway, and the session of a login cookie.

use crate::core::rejection::Rejection;
use crate::http::bearer::read_bearer_token;
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::sessions::LiveSession;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use berth_api::RejectReason;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// A caller that has sent the shared secret of the gateways. Without a configured secret, any caller.
pub(in crate::http) struct GatewayAuth;

impl FromRequestParts<App> for GatewayAuth {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HttpProblem> {
        match &app.gateway_secret {
            Some(secret) if !is_authorized(&parts.headers, secret.reveal()) => {
                Err(RejectReason::UnknownGateway.into())
            }
            _ => Ok(Self),
        }
    }
}

fn is_authorized(headers: &HeaderMap, secret: &str) -> bool {
    let token = read_bearer_token(headers).ok().flatten();
    token.is_some_and(|token| token.as_bytes().ct_eq(secret.as_bytes()).into())
}

/// Finds the session of a login cookie. The rejection of a stale cookie carries the anonymous cookie.
pub(in crate::http) async fn resolve_session(
    app: &App,
    cookie: &str,
) -> Result<Arc<LiveSession>, HttpProblem> {
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
