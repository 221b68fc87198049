//! `/v1/webhooks`: operators list the events that a webhook did not accept (dead letters), and send them again.

use super::auth::OperatorAuth;
use crate::events::webhooks::RetryOutcome;
use crate::http::openapi::{OPERATORS, ProblemResponse};
use crate::http::paths::{DEAD_LETTERS_PATH, RETRY_PATH};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::sessions::store_down;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use berth_store::DeadLetter;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetters)]
pub(in crate::http) struct DeadLettersResponse {
    dead_letters: Vec<DeadLetter>,
}

/// `GET /v1/webhooks/{name}/dead-letters`: oldest first.
#[utoipa::path(get, path = DEAD_LETTERS_PATH, tag = OPERATORS, security(("client" = [])),
    params(("name" = String, Path, description = "The webhook's name")),
    responses((status = 200, body = DeadLettersResponse), ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<503>))]
pub(in crate::http) async fn list_dead_letters(
    _: OperatorAuth,
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<DeadLettersResponse>, HttpProblem> {
    let Path(name) = path.map_err(|_| HttpProblem::no_such_webhook())?;
    let dead_letters = app.webhooks.dead_letters(&name).await;
    let dead_letters = dead_letters.map_err(|e| store_down(&e))?;
    let dead_letters = dead_letters.ok_or_else(HttpProblem::no_such_webhook)?;
    Ok(Json(DeadLettersResponse { dead_letters }))
}

/// `POST /v1/webhooks/{name}/dead-letters/{sequence}/retry`: makes one more attempt, at once.
#[utoipa::path(post, path = RETRY_PATH, tag = OPERATORS, security(("client" = [])),
    params(("name" = String, Path, description = "The webhook's name"), ("sequence" = u64, Path, description = "The sequence number of the event")),
    responses((status = 204), ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<502>, ProblemResponse<503>))]
pub(in crate::http) async fn retry_dead_letter(
    _: OperatorAuth,
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, HttpProblem> {
    let Path((name, sequence)) = path.map_err(|_| HttpProblem::no_such_webhook())?;
    // Sequence numbers start at 1, so 0 names no dead letter.
    let sequence = sequence.parse().unwrap_or(0);
    let retried = app.webhooks.retry(&name, sequence).await;
    match retried.map_err(|e| store_down(&e))? {
        RetryOutcome::Delivered => Ok(StatusCode::NO_CONTENT),
        RetryOutcome::Failed(error) => Err(HttpProblem::webhook_failed().with_detail(error)),
        RetryOutcome::NoSuchLetter => Err(HttpProblem::no_such_dead_letter()),
        RetryOutcome::NoSuchWebhook => Err(HttpProblem::no_such_webhook()),
    }
}
