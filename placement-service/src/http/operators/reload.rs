//! `/v1/config` and `/v1/reload`: operators see the settings in force, and have the configuration file read again. Passes
//! each reload on to the task that does it; must not know how.

use super::auth::OperatorAuth;
use crate::config::fault::Faults;
use crate::http::openapi::{OPERATORS, ProblemResponse};
use crate::http::paths::{CONFIG_PATH, RELOAD_PATH};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use axum::Json;
use axum::extract::State;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

/// Reloads that wait while one is in progress.
const MAX_WAITING: usize = 8;

/// The effect of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Reload)]
pub struct ReloadReport {
    /// The changed settings that are in force now.
    pub applied: Vec<String>,
    /// The changed settings that need a restart of the service.
    pub restart: Vec<String>,
    /// The files of the edge are other ones now: they must be rendered again.
    pub render: bool,
    /// The warnings of the configuration.
    pub warnings: Vec<String>,
}

/// Where the result of a reload goes: the faults of the file if it has some.
pub type ReloadReply = oneshot::Sender<Result<ReloadReport, Faults>>;

/// The queue of requested reloads.
pub struct ReloadRequests {
    sender: mpsc::Sender<ReloadReply>,
    receiver: Mutex<Option<mpsc::Receiver<ReloadReply>>>,
}

impl Default for ReloadRequests {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

impl ReloadRequests {
    /// The requests, for the task that serves them; `None` if they are taken already.
    pub fn take(&self) -> Option<mpsc::Receiver<ReloadReply>> {
        self.receiver.lock().take()
    }

    /// `None`: nobody serves the requests, or too many wait.
    async fn request(&self) -> Option<Result<ReloadReport, Faults>> {
        if self.receiver.lock().is_some() {
            return None;
        }
        let (reply, result) = oneshot::channel();
        self.sender.try_send(reply).ok()?;
        result.await.ok()
    }
}

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
