//! `/v1/streams`: operators list the open streams of all replicas, and close one.

use super::auth::OperatorAuth;
use super::query::parse_query;
use crate::gateways::{ReportedStream, StreamQuery};
use crate::http::openapi::{OPERATORS, ProblemResponse};
use crate::http::paths::{STREAM_PATH, STREAMS_PATH};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::sessions::store_down;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use berth_api::is_stream_name;
use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Maximum number of accounts looked up concurrently.
const MAX_CONCURRENT: usize = 32;

/// An open stream: a WebSocket of a client.
#[derive(Serialize, ToSchema)]
#[schema(as = Stream)]
pub(in crate::http) struct StreamView {
    stream: String,
    session_ref: String,
    /// The key of the account; absent for a program's token without a session, and for a session that has ended.
    account: Option<String>,
    pool: String,
    engine: String,
    /// The opaque name of its key, on a route with affinity.
    key: Option<String>,
    gateway: String,
    /// The `node.id` of the gateway's Envoy.
    node: Option<String>,
    /// Unix seconds.
    opened_at: u64,
    /// Seconds since it opened.
    age_s: u64,
}

/// Open streams, sorted by name.
#[derive(Serialize, ToSchema)]
#[schema(as = Streams)]
pub(in crate::http) struct StreamsResponse {
    streams: Vec<StreamView>,
    /// `after` of the next page; absent on the last one. A page may have few streams, or none, and still a next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// False: the store or a replica does not answer, or the account has too many sessions, so streams are missing.
    complete: bool,
}

/// `GET /v1/streams?account=KEY&session=SESSION&pool=NAME&engine=NAME`: the open streams of all replicas, in pages.
#[utoipa::path(get, path = STREAMS_PATH, tag = OPERATORS, security(("client" = [])),
    params(("account" = Option<String>, Query, description = "Only the streams of this account's sessions"), ("session" = Option<String>, Query, description = "Only the streams of this session, by its public name"),
        ("pool" = Option<String>, Query, description = "Only the streams of this pool"), ("engine" = Option<String>, Query, description = "Only the streams of engines of this name"),
        ("after" = Option<String>, Query, description = "`next` of the previous page")),
    responses((status = 200, body = StreamsResponse), ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn list_streams(
    _: OperatorAuth,
    State(app): State<App>,
    uri: Uri,
) -> Result<Json<StreamsResponse>, HttpProblem> {
    let names = ["account", "session", "pool", "engine", "after"];
    let [account, session, pool, engine, after] = parse_query(&uri, names)?;
    let mut sessions = session.map(|session| BTreeSet::from([session]));
    let mut all_sessions = true;
    if let Some(account) = &account {
        let listed = app.sessions.list(Some(account)).await;
        let listed = listed.map_err(|e| store_down(&e))?;
        all_sessions = !listed.more;
        let of_account = listed.sessions.into_iter().map(|s| s.session_ref);
        let of_account =
            of_account.filter(|name| sessions.as_ref().is_none_or(|s| s.contains(name)));
        sessions = Some(of_account.collect());
    }
    let query = StreamQuery {
        sessions,
        pool,
        engine,
        after,
    };
    let page = app.streams.list(query).await;
    let (streams, accounts_found) = stream_views(&app, page.streams, page.at_s).await;
    Ok(Json(StreamsResponse {
        streams,
        next: page.next,
        complete: page.complete && all_sessions && accounts_found,
    }))
}

/// `DELETE /v1/streams/{stream}`: its gateway closes it with close code 4410. The session goes on.
#[utoipa::path(delete, path = STREAM_PATH, tag = OPERATORS, security(("client" = [])),
    params(("stream" = String, Path, description = "The name of the stream")),
    responses((status = 204), ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<503>))]
pub(in crate::http) async fn close_stream(
    _: OperatorAuth,
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, HttpProblem> {
    let stream = path.ok().map(|Path(stream)| stream);
    let stream = stream.filter(|stream| is_stream_name(stream));
    let stream = stream.ok_or_else(HttpProblem::no_such_stream)?;
    let closed = app.streams.close(&stream).await;
    if closed.map_err(|e| store_down(&e))? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(HttpProblem::no_such_stream())
    }
}

/// The streams with their accounts and Envoys, and whether every account could be looked up.
async fn stream_views(
    app: &App,
    streams: Vec<ReportedStream>,
    now_s: u64,
) -> (Vec<StreamView>, bool) {
    if streams.is_empty() {
        return (Vec::new(), true);
    }
    let sessions: BTreeSet<String> = streams.iter().map(|s| s.session_ref.clone()).collect();
    let lookups = stream::iter(sessions).map(|session| async move {
        let account = app.sessions.account_of(&session).await;
        (session, account)
    });
    let mut lookups = lookups.buffer_unordered(MAX_CONCURRENT);
    let (mut accounts, mut all_found) = (BTreeMap::new(), true);
    while let Some((session, account)) = lookups.next().await {
        all_found &= account.is_ok();
        accounts.extend(account.ok().flatten().map(|account| (session, account)));
    }
    let (gateways, _) = app.gateway_drains.gateways().await;
    let nodes = gateways.into_iter().map(|view| (view.gateway, view.node));
    let nodes: BTreeMap<String, Option<String>> = nodes.collect();
    let view = |stream: ReportedStream| StreamView {
        account: accounts.get(&stream.session_ref).cloned(),
        node: nodes.get(&stream.gateway).cloned().flatten(),
        age_s: now_s.saturating_sub(stream.opened_at),
        stream: stream.stream,
        session_ref: stream.session_ref,
        pool: stream.pool,
        engine: stream.engine,
        key: stream.key,
        gateway: stream.gateway,
        opened_at: stream.opened_at,
    };
    (streams.into_iter().map(view).collect(), all_found)
}
