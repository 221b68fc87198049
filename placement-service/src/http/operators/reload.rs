//! `/v1/config` and `/v1/reload`: operators see the settings in force, and have the configuration file read again.

use super::auth::OperatorAuth;
use crate::http::openapi::{OPERATORS, ProblemResponse};
use crate::http::paths::{CONFIG_PATH, RELOAD_PATH};
use crate::http::problem::HttpProblem;
use crate::http::reloads::ReloadReport;
use crate::http::state::App;
use axum::Json;
use axum::extract::State;
use serde_json::Value;

/// `GET /v1/config`: the settings in force, with their defaults. Secrets are hidden.
#[utoipa::path(get, path = CONFIG_PATH, tag = OPERATORS, security(("client" = [])),
    responses((status = 200, body = Object), ProblemResponse<403>))]
pub(in crate::http) async fn show_config(_: OperatorAuth, State(app): State<App>) -> Json<Value> {
    Json(app.config.settings.hide_secrets())
}

/// `POST /v1/reload`: reads the configuration file again. A file with faults changes nothing.
#[utoipa::path(post, path = RELOAD_PATH, tag = OPERATORS, security(("client" = [])),
    responses((status = 200, body = ReloadReport), ProblemResponse<403>, ProblemResponse<409>, ProblemResponse<422>))]
pub(in crate::http) async fn reload(
    _: OperatorAuth,
    State(app): State<App>,
) -> Result<Json<ReloadReport>, HttpProblem> {
    let result = app.reloads.request().await;
    let result = result.ok_or_else(HttpProblem::reload_unavailable)?;
    let report = result
        .map_err(|faults| HttpProblem::configuration_invalid().with_detail(faults.to_string()))?;
    Ok(Json(report))
}
