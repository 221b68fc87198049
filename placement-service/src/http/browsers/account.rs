//! `/login/account`: where users see their logins, end them, and change their password; a page with forms for browsers
//! without scripts, JSON for other clients. Every change is refused to pages of other sites, as a login is.

use super::account_form::{self, PasswordFields, SessionChoice, SessionFields};
use super::cross_site;
use super::login::{body_format, login_problem};
use super::login_form::Format;
use super::login_response::{check_rate_limit, client_address, see_other};
use super::pages::AccountPage;
use crate::core::rejection::Rejection;
use crate::http::body::RawBody;
use crate::http::gateways::tokens;
use crate::http::openapi::{BROWSERS, PageOrProblem, ProblemResponse};
use crate::http::paths::{ACCOUNT_PATH, LOGIN_PATH};
use crate::http::problem::{HttpProblem, ResponseReason};
use crate::http::state::App;
use crate::login::{PasswordChange, PasswordChangeError, PasswordChanged};
use crate::sessions::{LiveSession, OwnLogin, run_detached, store_down};
use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use berth_api::RejectReason;
use berth_store::EndCause;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use utoipa::ToSchema;

pub(in crate::http) const SESSIONS_PATH: &str = "/login/account/sessions";
pub(in crate::http) const END_PATH: &str = "/login/account/sessions/end";
pub(in crate::http) const PASSWORD_PATH: &str = "/login/account/password";

/// The active logins of an account, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = OwnSessions)]
struct OwnLogins {
    sessions: Vec<OwnLogin>,
}

/// How many logins have ended.
#[derive(Serialize, ToSchema)]
#[schema(as = EndedSessions)]
struct EndedLogins {
    ended: u64,
}

/// `GET /login/account`: the page. Without a session, the login page, which leads back here.
#[utoipa::path(get, path = ACCOUNT_PATH, tag = BROWSERS, security(("session" = [])),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"), (status = 303, description = "To the login page"), ProblemResponse<400>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn account_page(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let Some(cookie) = app.cookie.read(&headers)? else {
        return Ok(login_redirect());
    };
    match app.sessions.peek(cookie).await {
        Ok((session, _)) => {
            let notice = match uri.query() {
                Some("done=password") => {
                    "Your password has been changed. All other logins have ended."
                }
                Some("done=sessions") => "The login has ended.",
                _ => "",
            };
            render_page(&app, &session, StatusCode::OK, notice, "").await
        }
        Err(rejection) if rejection.reason == RejectReason::StoreDown => Err(rejection.into()),
        Err(_) => Ok(login_redirect()),
    }
}

/// `GET /login/account/sessions`: the active logins of the account.
#[utoipa::path(get, path = SESSIONS_PATH, tag = BROWSERS, security(("session" = [])),
    responses((status = 200, body = OwnLogins), ProblemResponse<400>, ProblemResponse<401>, ProblemResponse<440>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn list_own_sessions(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let cookie = app.cookie.read(&headers)?.ok_or(RejectReason::NoSession)?;
    let (session, _) = app.sessions.peek(cookie).await.map_err(timeout_problem)?;
    let sessions = app.sessions.list_own(&session).await;
    let sessions = sessions.map_err(|e| store_down(&e))?;
    Ok(json_response(OwnLogins { sessions }))
}

/// `POST /login/account/sessions/end`: ends one login of the account, or all others.
#[utoipa::path(post, path = END_PATH, tag = BROWSERS, security(("session" = [])),
    request_body(content((SessionFields = "application/json"), (SessionFields = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "JSON", body = EndedLogins), (status = 303, description = "Form: back to the page"), ProblemResponse<400>, ProblemResponse<401>, ProblemResponse<403>, ProblemResponse<404>,
        ProblemResponse<408>, ProblemResponse<413>, ProblemResponse<415>, ProblemResponse<440>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn end_own_sessions(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, HttpProblem> {
    cross_site::check_origin(&uri, &headers, &app.config)?;
    let session = authenticate(&app, &headers).await?;
    let format = body_format(&headers).ok_or_else(HttpProblem::unsupported_media_type)?;
    let choice = account_form::parse_session(format, &body)?;
    let ending = run_detached(async move {
        match choice {
            SessionChoice::One(name) => {
                let is_ended = app.sessions.end_own(&session, &name).await?;
                Ok(is_ended.then_some(1))
            }
            SessionChoice::Others => {
                let ended = app.sessions.end_others(&session, EndCause::Logout).await?;
                Ok(Some(ended))
            }
        }
    });
    let ended = ending.await.map_err(|e| store_down(&e))?;
    let ended = ended.ok_or_else(HttpProblem::no_such_session)?;
    Ok(match format {
        Format::Json => json_response(EndedLogins { ended }),
        Format::Form => see_other("/login/account?done=sessions"),
    })
}

/// `POST /login/account/password`: changes the password of a local account, and ends its other logins.
#[utoipa::path(post, path = PASSWORD_PATH, tag = BROWSERS, security(("session" = [])),
    request_body(content((PasswordFields = "application/json"), (PasswordFields = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "JSON", body = EndedLogins), (status = 303, description = "Form: back to the page"), PageOrProblem<400>, PageOrProblem<401>, PageOrProblem<403>,
        ProblemResponse<408>, ProblemResponse<413>, ProblemResponse<415>, PageOrProblem<429>, ProblemResponse<440>, ProblemResponse<500>, ProblemResponse<501>, PageOrProblem<503>))]
pub(in crate::http) async fn change_own_password(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, HttpProblem> {
    cross_site::check_origin(&uri, &headers, &app.config)?;
    let session = authenticate(&app, &headers).await?;
    let format = body_format(&headers).ok_or_else(HttpProblem::unsupported_media_type)?;
    let changed = change_password(&app, &session, &headers, peer, format, &body).await;
    match (changed, format) {
        (Ok(changed), _) => Ok(changed_response(&app, changed, format)),
        (Err(problem), Format::Json) => Err(problem),
        (Err(problem), Format::Form) => {
            let text = problem.detail().unwrap_or(problem.title()).to_owned();
            let page = render_page(&app, &session, problem.status(), "", &text).await;
            let mut response = page?;
            let reason = ResponseReason(problem.reason());
            response.extensions_mut().insert(reason);
            Ok(response)
        }
    }
}

async fn change_password(
    app: &App,
    session: &LiveSession,
    headers: &HeaderMap,
    peer: SocketAddr,
    format: Format,
    body: &[u8],
) -> Result<PasswordChanged, HttpProblem> {
    if !app.config.login.local {
        return Err(HttpProblem::local_login_disabled());
    }
    let form = account_form::parse_password(format, body)?;
    let client = client_address(app, headers, peer);
    check_rate_limit(app, &app.login_rate, client)?;
    let change = PasswordChange {
        session,
        current: form.current.reveal().to_owned(),
        new: form.new.reveal().to_owned(),
        device_cookie: app.device_cookie.read(headers),
        client,
    };
    let changed = app.login.change_password(change).await;
    changed.map_err(|error| match error {
        PasswordChangeError::NoPassword => HttpProblem::no_password(),
        PasswordChangeError::NewPassword(rule) => HttpProblem::invalid_request(rule),
        PasswordChangeError::Login(error) => login_problem(error),
    })
}

fn changed_response(app: &App, changed: PasswordChanged, format: Format) -> Response {
    let mut response = match format {
        Format::Json => json_response(EndedLogins {
            ended: changed.ended,
        }),
        Format::Form => see_other("/login/account?done=password"),
    };
    let device_cookie = changed.device_cookie.as_deref();
    if let Some(cookie) = device_cookie.and_then(|value| app.device_cookie.set(value)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// The session of a request that changes something: counts as activity.
async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Arc<LiveSession>, HttpProblem> {
    let cookie = app.cookie.read(headers)?.ok_or(RejectReason::NoSession)?;
    let session = app.sessions.resolve(cookie).await;
    session.map_err(timeout_problem)
}

/// A script may repeat the request after a login if the session has ended.
fn timeout_problem(rejection: Rejection) -> HttpProblem {
    let is_stale = tokens::is_stale(&rejection);
    let problem = HttpProblem::from(rejection);
    if is_stale {
        problem.with_login_timeout()
    } else {
        problem
    }
}

async fn render_page(
    app: &App,
    session: &LiveSession,
    status: StatusCode,
    notice: &str,
    alert: &str,
) -> Result<Response, HttpProblem> {
    let logins = app.sessions.list_own(session).await;
    let logins = logins.map_err(|e| store_down(&e))?;
    let page = AccountPage {
        account: &session.account,
        display_name: &session.display_name,
        logins: &logins,
        has_password: app.config.login.local && session.provider.is_none(),
        notice,
        alert,
    };
    Ok(app.pages.account(status, &page))
}

fn login_redirect() -> Response {
    see_other(&format!(
        "{LOGIN_PATH}?return_to={}",
        ACCOUNT_PATH.replace('/', "%2F")
    ))
}

fn json_response(body: impl Serialize) -> Response {
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (no_store, Json(body)).into_response()
}
