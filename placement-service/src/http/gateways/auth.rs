//! The authentication of gateways by their shared secret.

use crate::http::bearer::read_bearer_token;
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use berth_api::RejectReason;
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
