//! `/v1/sessions`: operators list and end sessions, runtimes read theirs. Responses identify a session by its public name and never contain
//! its id, which is a secret.

use super::auth::OperatorAuth;
use super::clients::Client;
use crate::gateways::{StreamPage, StreamQuery};
use crate::http::openapi::{OPERATORS, ProblemResponse};
use crate::http::paths::{SESSION_PATH, SESSIONS_PATH};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::sessions::{SessionList, SessionView, run_detached, store_down};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use berth_store::{EndCause, SessionQuery};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// An engine that a session has open streams to.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct SessionEngine {
    pool: String,
    engine: String,
    streams: usize,
}

/// An active session, and the engines that it is on.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PlacedSession {
    #[serde(flatten)]
    session: SessionView,
    engines: Vec<SessionEngine>,
}

/// Sessions, oldest first.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PlacedSessions {
    sessions: Vec<PlacedSession>,
    /// There are more sessions than fit into one list.
    more: bool,
    /// False: `engines` may lack some, because the store or a replica does not answer, or because there are more streams
    /// than one page of `/v1/streams` has.
    engines_complete: bool,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct EndSessionsResponse {
    ended: u64,
}

/// The public name of a session, from the path.
pub(in crate::http) struct Sid(pub(in crate::http) String);

impl FromRequestParts<App> for Sid {
    type Rejection = HttpProblem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, HttpProblem> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        let Path(sid) = path.map_err(|_| HttpProblem::no_such_session())?;
        Ok(Self(sid))
    }
}

/// `GET /v1/sessions?account=KEY`: the sessions of the account, oldest first.
#[utoipa::path(get, path = SESSIONS_PATH, tag = OPERATORS, security(("client" = [])), params(("account" = String, Query, description = "The key of the account: a local account's name, or `provider:name`")),
    responses((status = 200, body = PlacedSessions), ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn list_sessions(
    _: OperatorAuth,
    State(app): State<App>,
    uri: Uri,
) -> Result<Json<PlacedSessions>, HttpProblem> {
    let account = account_param(&uri)?;
    let listed = app.sessions.list(Some(&account)).await;
    let listed = listed.map_err(|e| store_down(&e))?;
    Ok(Json(with_engines(&app, listed).await))
}

/// Adds the engines that the sessions have open streams to.
async fn with_engines(app: &App, listed: SessionList) -> PlacedSessions {
    let names = listed.sessions.iter().map(|s| s.session_ref.clone());
    let query = StreamQuery {
        sessions: Some(names.collect()),
        ..StreamQuery::default()
    };
    let page = match listed.sessions[..] {
        [] => StreamPage::empty(),
        _ => app.streams.list(query).await,
    };
    let mut engines: BTreeMap<String, BTreeMap<(String, String), usize>> = BTreeMap::new();
    for stream in page.streams {
        let of_session = engines.entry(stream.session_ref).or_default();
        *of_session.entry((stream.pool, stream.engine)).or_default() += 1;
    }
    let sessions = listed.sessions.into_iter().map(|session| {
        let engines = engines.remove(&session.session_ref).unwrap_or_default();
        let engines = engines.into_iter();
        let engines = engines.map(|((pool, engine), streams)| SessionEngine {
            pool,
            engine,
            streams,
        });
        PlacedSession {
            engines: engines.collect(),
            session,
        }
    });
    PlacedSessions {
        sessions: sessions.collect(),
        more: listed.more,
        engines_complete: page.complete && page.next.is_none(),
    }
}

/// `DELETE /v1/sessions?account=KEY`: ends all sessions of the account.
#[utoipa::path(delete, path = SESSIONS_PATH, tag = OPERATORS, security(("client" = [])), params(("account" = String, Query, description = "The key of the account: a local account's name, or `provider:name`")),
    responses((status = 200, body = EndSessionsResponse), ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn end_account_sessions(
    _: OperatorAuth,
    State(app): State<App>,
    uri: Uri,
) -> Result<Json<EndSessionsResponse>, HttpProblem> {
    let select = SessionQuery::Account(account_param(&uri)?);
    let ending = run_detached(async move {
        let sessions = &app.sessions;
        sessions.end_selected(&select, EndCause::Operator).await
    });
    let count = ending.await;
    let count = count.map_err(|e| store_down(&e))?;
    Ok(Json(EndSessionsResponse { ended: count }))
}

/// `GET /v1/sessions/{sid}`: for operators, and for the runtimes of the session and of its ancestors.
#[utoipa::path(get, path = SESSION_PATH, tag = OPERATORS, security(("client" = [])), params(("sid" = String, Path, description = "The public name of the session")),
    responses((status = 200, body = SessionView), ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<409>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn show_session(
    client: Client,
    State(app): State<App>,
    Sid(sid): Sid,
) -> Result<Json<SessionView>, HttpProblem> {
    let session = app.sessions.find_active(&sid, client.runtime()).await?;
    Ok(Json(session))
}

/// `DELETE /v1/sessions/{sid}`.
#[utoipa::path(delete, path = SESSION_PATH, tag = OPERATORS, security(("client" = [])), params(("sid" = String, Path, description = "The public name of the session")),
    responses((status = 204), ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn end_session(
    _: OperatorAuth,
    State(app): State<App>,
    Sid(sid): Sid,
) -> Result<Response, HttpProblem> {
    let ending = run_detached(async move {
        let sessions = &app.sessions;
        sessions.end_by_ref(&sid, EndCause::Operator).await
    });
    if ending.await.map_err(|e| store_down(&e))? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(HttpProblem::no_such_session())
    }
}

fn account_param(uri: &Uri) -> Result<String, HttpProblem> {
    let query = uri.query().unwrap_or_default();
    let mut accounts = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, _)| name == "account")
        .map(|(_, value)| value.into_owned());
    match (accounts.next(), accounts.next()) {
        (Some(account), None) if !account.is_empty() => Ok(account),
        (Some(_), Some(_)) => Err(HttpProblem::invalid_request("account is there twice")),
        _ => Err(HttpProblem::invalid_request("account is missing")),
    }
}
