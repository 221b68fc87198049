//! `/v1/sessions/{sid}/children` and `/complete`: runtimes start child sessions and complete them.

use super::clients::Client;
use super::session_requests::{ChildRequest, Completion};
use super::sessions::Sid;
use crate::http::body::RawBody;
use crate::http::openapi::{OPERATORS, ProblemResponse};
use crate::http::paths::{CHILDREN_PATH, COMPLETE_PATH};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::sessions::{ChildSessionError, MAX_CLAIMS_BYTES, NewChildSession, run_detached};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use berth_api::{Excerpt, RejectReason};
use serde::Serialize;
use utoipa::ToSchema;

/// A child session that was started.
#[derive(Serialize, ToSchema)]
struct ChildResponse<'a> {
    /// The session's id: a secret, for the browser only.
    id: &'a str,
    session_ref: &'a str,
    /// The `Set-Cookie` value that gives the id to the browser.
    set_cookie: &'a str,
    /// Unix seconds.
    expires_at: u64,
}

/// `POST /v1/sessions/{sid}/children`: starts a child of that session. Its id is for the browser only.
#[utoipa::path(post, path = CHILDREN_PATH, tag = OPERATORS, security(("client" = [])), params(("sid" = String, Path, description = "The public name of the session")), request_body = ChildRequest,
    responses((status = 201, body = ChildResponse), ProblemResponse<400>, ProblemResponse<401>, ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<409>, ProblemResponse<408>, ProblemResponse<413>, ProblemResponse<440>, ProblemResponse<500>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn start_child(
    client: Client,
    State(app): State<App>,
    Sid(sid): Sid,
    RawBody(body): RawBody,
) -> Result<Response, HttpProblem> {
    let request = ChildRequest::parse(&body)?;
    let caller_runtime = client.runtime();
    let own_runtime = caller_runtime.unwrap_or(&app.config.session.runtime);
    let new_session = NewChildSession {
        idle_timeout: request.idle_timeout(),
        runtime: request.runtime.unwrap_or_else(|| own_runtime.to_owned()),
        claims: request.claims,
    };
    client.check_child_runtime(&new_session.runtime)?;
    let (id, live) = app
        .sessions
        .start_child(&sid, caller_runtime, new_session)
        .await?;
    let cookie = app.cookie.set(&id).ok_or(RejectReason::Internal)?;
    let cookie = cookie.to_str().map_err(|_| RejectReason::Internal)?;
    let body = Json(ChildResponse {
        id: id.reveal(),
        session_ref: &live.session_ref,
        set_cookie: cookie,
        expires_at: live.expires_at,
    });
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, no_store, body).into_response())
}

/// `POST /v1/sessions/{sid}/complete`: completes that child, and passes its result to its parent.
#[utoipa::path(post, path = COMPLETE_PATH, tag = OPERATORS, security(("client" = [])), params(("sid" = String, Path, description = "The public name of the session")), request_body = Completion,
    responses((status = 204), ProblemResponse<400>, ProblemResponse<401>, ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<409>, ProblemResponse<408>, ProblemResponse<413>, ProblemResponse<440>, ProblemResponse<500>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn complete_child(
    client: Client,
    State(app): State<App>,
    Sid(sid): Sid,
    RawBody(body): RawBody,
) -> Result<StatusCode, HttpProblem> {
    let Completion { result } = Completion::parse(&body)?;
    let completed = run_detached(async move {
        let sessions = &app.sessions;
        sessions
            .complete_child(&sid, client.runtime(), result)
            .await
    });
    completed.await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<ChildSessionError> for HttpProblem {
    fn from(error: ChildSessionError) -> Self {
        match error {
            ChildSessionError::NoSuchSession => Self::no_such_session(),
            ChildSessionError::OtherRuntime => Self::client_forbidden(
                "neither the session nor one of its ancestors belongs to the caller's runtime",
            ),
            ChildSessionError::TooDeep => Self::session_too_deep(),
            ChildSessionError::Cycle => Self::session_cycle(),
            ChildSessionError::TooManyClaims => Self::invalid_request(format!(
                "claims take more than {MAX_CLAIMS_BYTES} bytes, with those of the parent"
            )),
            ChildSessionError::InheritedClaim(name) => Self::invalid_request(format!(
                "claims must not replace {}, a claim of the parent",
                Excerpt(name)
            )),
            ChildSessionError::NotAChild => Self::not_a_child(),
            ChildSessionError::Rejected(rejection) => rejection.into(),
        }
    }
}
