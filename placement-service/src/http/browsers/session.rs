//! What a browser may read of its own session. Only `POST /session/renew` counts as activity, so that a page can poll
//! without keeping a session alive.

use super::cross_site;
use crate::http::gateways::tokens;
use crate::http::openapi::{BROWSERS, ProblemResponse};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::placement::RecentPlacement;
use crate::sessions::{LiveSession, RemainingTime};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use berth_api::RejectReason;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
struct OwnSession<'a> {
    anonymous: bool,
    /// The key of the account: a local account's name, or `provider:name`.
    account: &'a str,
    /// The user's name for people.
    display_name: &'a str,
    roles: &'a [String],
    /// The identity provider that the user logs in with, if any; its name in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    /// Seconds until the idle timeout of the session.
    idle_remaining_s: u64,
    /// Seconds until the absolute timeout of the session.
    absolute_remaining_s: u64,
}

impl<'a> OwnSession<'a> {
    fn new(live: &'a LiveSession, remaining: RemainingTime) -> Self {
        Self {
            anonymous: false,
            account: &live.account,
            display_name: &live.display_name,
            roles: &live.roles,
            provider: live.provider_name(),
            idle_remaining_s: remaining.idle_s,
            absolute_remaining_s: remaining.absolute_s,
        }
    }
}

/// The answer to a stale cookie, or to none.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Anonymous {
    anonymous: bool,
}

/// The answer of `GET /session`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum SessionResponse<'a> {
    Own(OwnSession<'a>),
    Anonymous(Anonymous),
}

#[derive(Serialize, ToSchema)]
struct AuthenticationStatus {
    authenticated: bool,
}

#[derive(Serialize, ToSchema)]
struct OwnPlacements {
    placements: Vec<RecentPlacement>,
}

/// `GET /session`: account, roles and remaining seconds; `anonymous` for a stale or no cookie.
#[utoipa::path(get, path = "/session", tag = BROWSERS, security(("session" = [])),
    responses((status = 200, body = SessionResponse), ProblemResponse<400>, ProblemResponse<503>))]
pub(in crate::http) async fn show_own_session(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let result = peek(&app, &headers).await?;
    let response = match &result {
        Ok((live, remaining)) => SessionResponse::Own(OwnSession::new(live, *remaining)),
        Err(_) => SessionResponse::Anonymous(Anonymous { anonymous: true }),
    };
    Ok(with_no_store(Json(response).into_response()))
}

/// `POST /session/renew`: "stay signed in". Answers like `GET /session`; a stale cookie gets 440 and an anonymous
/// cookie.
#[utoipa::path(post, path = "/session/renew", tag = BROWSERS, security(("session" = [])),
    responses((status = 200, body = OwnSession), ProblemResponse<400>, ProblemResponse<401>, ProblemResponse<403>, ProblemResponse<440>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn renew_session(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    cross_site::check_origin(&uri, &headers, &app.config)?;
    let Some(cookie) = app.cookie.read(&headers)? else {
        return Err(RejectReason::NoSession.into());
    };
    match app.sessions.renew(cookie).await {
        Ok((live, remaining)) => Ok(with_no_store(
            Json(OwnSession::new(&live, remaining)).into_response(),
        )),
        Err(rejection) if tokens::is_stale(&rejection) => {
            let id = app.sessions.anonymous_id(cookie);
            let anonymous = HeaderValue::try_from(app.cookie.set_anonymous(&id));
            let mut response = HttpProblem::from(rejection)
                .with_login_timeout()
                .into_response();
            if let Ok(anonymous) = anonymous {
                response.headers_mut().append(header::SET_COOKIE, anonymous);
            }
            Ok(response)
        }
        Err(rejection) => Err(rejection.into()),
    }
}

/// `GET /session/placements`: the recent placements of the session, latest first.
#[utoipa::path(get, path = "/session/placements", tag = BROWSERS, security(("session" = [])),
    responses((status = 200, body = OwnPlacements), ProblemResponse<400>, ProblemResponse<401>, ProblemResponse<440>, ProblemResponse<503>))]
pub(in crate::http) async fn list_own_placements(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let (live, _) = peek(&app, &headers).await??;
    let placements = app.placement.recent_placements(&live.session_ref);
    Ok(with_no_store(
        Json(OwnPlacements { placements }).into_response(),
    ))
}

/// `GET /is-authenticated`: 200 or 401.
#[utoipa::path(get, path = "/is-authenticated", tag = BROWSERS, security(("session" = [])),
    responses((status = 200, body = AuthenticationStatus), (status = 401, body = AuthenticationStatus), ProblemResponse<400>, ProblemResponse<503>))]
pub(in crate::http) async fn is_authenticated(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let is_known = peek(&app, &headers).await?.is_ok();
    let status = if is_known {
        StatusCode::OK
    } else {
        StatusCode::UNAUTHORIZED
    };
    let body = Json(AuthenticationStatus {
        authenticated: is_known,
    });
    Ok(with_no_store((status, body).into_response()))
}

type PeekResult = Result<(Arc<LiveSession>, RemainingTime), HttpProblem>;

/// Finds the session without counting as activity. The outer error ends the request: the cookie header is invalid, or
/// the store is down. The inner error means that nobody is logged in.
async fn peek(app: &App, headers: &HeaderMap) -> Result<PeekResult, HttpProblem> {
    let Some(cookie) = app.cookie.read(headers)? else {
        return Ok(Err(RejectReason::NoSession.into()));
    };
    match app.sessions.peek(cookie).await {
        Ok(session) => Ok(Ok(session)),
        Err(rejection) if rejection.reason == RejectReason::StoreDown => Err(rejection.into()),
        Err(rejection) => Ok(Err(rejection.into())),
    }
}

fn with_no_store(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, no_store);
    response
}
