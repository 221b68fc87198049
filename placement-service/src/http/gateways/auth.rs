//! The authentication of gateways by their shared secret or their certificate.

use crate::http::bearer::read_bearer_token;
use crate::http::problem::HttpProblem;
use crate::http::server::GatewayCertificate;
use crate::http::state::App;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use berth_api::RejectReason;
use subtle::ConstantTimeEq;

/// A caller that has sent the shared secret of the gateways, or has the certificate of one. If the configuration has
/// neither, any caller.
pub(in crate::http) struct GatewayAuth;

impl FromRequestParts<App> for GatewayAuth {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HttpProblem> {
        let tls = app.config.tls.as_ref();
        let needs_certificate = tls.is_some_and(|tls| tls.clients.is_some());
        let is_gateway = match &app.gateway_secret {
            _ if parts.extensions.get::<GatewayCertificate>().is_some() => true,
            Some(secret) => is_authorized(&parts.headers, secret.reveal()),
            None => !needs_certificate,
        };
        if is_gateway {
            Ok(Self)
        } else {
            Err(RejectReason::UnknownGateway.into())
        }
    }
}

fn is_authorized(headers: &HeaderMap, secret: &str) -> bool {
    let token = read_bearer_token(headers).ok().flatten();
    token.is_some_and(|token| token.as_bytes().ct_eq(secret.as_bytes()).into())
}
