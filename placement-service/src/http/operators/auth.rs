//! Authenticates the caller of a `/v1` route as a configured client, or as an operator, before the handler runs.

use super::clients::Client;
use crate::config::Role;
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// A caller with the role operator, which permits everything.
pub(in crate::http) struct OperatorAuth;

impl FromRequestParts<App> for Client {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HttpProblem> {
        app.clients.authenticate(&parts.headers).cloned()
    }
}

impl FromRequestParts<App> for OperatorAuth {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HttpProblem> {
        match app.clients.authenticate(&parts.headers)?.role {
            Role::Operator => Ok(Self),
            Role::Runtime => Err(HttpProblem::client_forbidden(
                "only clients with the role operator may do this",
            )),
        }
    }
}
