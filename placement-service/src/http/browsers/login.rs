//! `/login` and `/logout`: forms for browsers without scripts, JSON for other clients.

use super::cross_site;
use super::login_form::{self, Format, LoginFields};
use super::login_response::{
    LoginResponse, check_rate_limit, client_address, failure_page, logout_url, return_to_param,
    see_other, success_response,
};
use crate::config::OidcProvider;
use crate::core::return_to::ReturnTo;
use crate::http::body::RawBody;
use crate::http::openapi::{BROWSERS, PageOrProblem, ProblemResponse};
use crate::http::paths::oidc_path;
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::login::oidc::LOGGED_OUT_STATE;
use crate::login::{LoginError, PasswordLogin};
use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use berth_api::RejectReason;
use serde::Serialize;
use std::net::SocketAddr;
use utoipa::ToSchema;

/// The response of a logout that continues on another page.
#[derive(Serialize, ToSchema)]
struct LogoutResponse {
    /// The logout page of the provider that authenticated the user, or a page of this site.
    logout_url: String,
}

/// The login page after a logout. Never a redirect to the only provider, where the user may still be logged in: the
/// logout would become a login.
const LOGGED_OUT_PATH: &str = "/login?state=logged-out";

/// `GET /login`: the login page. It keeps a valid `return_to`. Providers append `state=logged-out` when they redirect
/// here after a logout.
#[utoipa::path(get, path = "/login", tag = BROWSERS,
    params(("return_to" = Option<String>, Query, description = "A path of this site, to redirect to after the login"), ("state" = Option<String>, Query, description = "`logged-out`: the page says so")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"), (status = 303, description = "To the only provider")))]
pub(in crate::http) async fn login_page(State(app): State<App>, uri: Uri) -> Response {
    let return_to = return_to_param(&uri);
    if is_after_logout(&uri) {
        return app.pages.logged_out(return_to.as_ref());
    }
    if let Some(provider) = only_provider(&app) {
        return see_other(&oidc_path(&provider.name, return_to.as_ref()));
    }
    let return_to = return_to.as_ref().map_or("", ReturnTo::as_str);
    app.pages.login(StatusCode::OK, "", "", return_to)
}

/// `POST /login`.
#[utoipa::path(post, path = "/login", tag = BROWSERS,
    request_body(content((LoginFields = "application/json"), (LoginFields = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "JSON: logged in", body = LoginResponse), (status = 303, description = "Form: redirect to `return_to`"), PageOrProblem<400>, PageOrProblem<401>, ProblemResponse<403>,
        ProblemResponse<408>, ProblemResponse<413>, ProblemResponse<415>, PageOrProblem<429>, ProblemResponse<500>, ProblemResponse<501>, PageOrProblem<503>))]
pub(in crate::http) async fn log_in(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, HttpProblem> {
    cross_site::check_origin(&uri, &headers, &app.config)?;
    if !app.config.login.local {
        return Err(HttpProblem::local_login_disabled());
    }
    let old_cookie = app.cookie.read_replaceable(&headers);
    let format = body_format(&headers).ok_or_else(HttpProblem::unsupported_media_type)?;
    let form = match login_form::parse(format, &body) {
        Ok(form) => form,
        Err(problem) if format == Format::Json => return Err(problem),
        Err(problem) => {
            let message = "Please give a name and a password.";
            return Ok(failure_page(&app, &problem, message, "", ""));
        }
    };
    let return_to = form.return_to.as_deref().and_then(ReturnTo::parse);
    let client = client_address(&app, &headers, peer);
    if let Err(problem) = check_rate_limit(&app, &app.login_rate, client) {
        if format == Format::Json {
            return Err(problem);
        }
        let message = "Too many logins from your address. Please wait a little.";
        let return_to = return_to.as_ref().map_or("", ReturnTo::as_str);
        return Ok(failure_page(
            &app,
            &problem,
            message,
            &form.username,
            return_to,
        ));
    }
    let login = PasswordLogin {
        name: &form.username,
        password: form.password.reveal().to_owned(),
        old_cookie,
        device_cookie: app.device_cookie.read(&headers),
        client,
    };
    match (app.login.log_in(login).await, format) {
        (Ok(login), _) => {
            success_response(&app, (&uri, &headers), &login, return_to.as_ref(), format)
        }
        (Err(error), Format::Json) => Err(login_problem(error)),
        (Err(error), Format::Form) => {
            let message = match error {
                LoginError::UnknownAccount | LoginError::WrongPassword | LoginError::Locked => {
                    "The name or the password is wrong, or the account is locked for a while."
                }
                LoginError::Rejected(ref rejection)
                    if rejection.reason == RejectReason::TooManySessions =>
                {
                    "You are logged in too many times. Please log out elsewhere first."
                }
                LoginError::Busy => "Too many logins at once. Please try again.",
                LoginError::Rejected(_) => "Logging in does not work just now. Please try again.",
            };
            let return_to = return_to.as_ref().map_or("", ReturnTo::as_str);
            let problem = login_problem(error);
            Ok(failure_page(
                &app,
                &problem,
                message,
                &form.username,
                return_to,
            ))
        }
    }
}

/// `POST /logout`. Succeeds without a session, too. A user whom a provider authenticated continues at the provider's
/// logout.
#[utoipa::path(post, path = "/logout", tag = BROWSERS, security(("session" = [])),
    responses((status = 200, description = "JSON: continue on another page", body = LogoutResponse), (status = 204), (status = 303, description = "Form: redirect to the login page, or to the provider"),
        ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<501>, ProblemResponse<503>))]
pub(in crate::http) async fn log_out(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    cross_site::check_origin(&uri, &headers, &app.config)?;
    let result = match app.cookie.read_replaceable(&headers) {
        Some(cookie) => app.login.log_out(cookie).await?,
        None => None,
    };
    let provider_logout = match result.as_ref().and_then(|live| live.provider.as_ref()) {
        Some(link) => logout_url(&app, &uri, &headers, link).await,
        None => None,
    };
    let form = body_format(&headers) == Some(Format::Form);
    // Every page of a site with only a provider leads to the provider, so that programs get the one that does not.
    let local_logout = only_provider(&app).map(|_| LOGGED_OUT_PATH.to_owned());
    let mut response = match (form, provider_logout) {
        (true, url) => see_other(url.as_deref().unwrap_or(LOGGED_OUT_PATH)),
        (false, url) => match url.or(local_logout) {
            Some(logout_url) => Json(LogoutResponse { logout_url }).into_response(),
            None => StatusCode::NO_CONTENT.into_response(),
        },
    };
    let duplicates = app.cookie.clear_duplicates(&uri, &headers);
    let headers = response.headers_mut();
    for cookie in app.cookie.clear().into_iter().chain(duplicates) {
        headers.append(header::SET_COOKIE, cookie);
    }
    // Not "cookies": that would clear cookies of applications and of sibling hosts, too.
    let data = HeaderValue::from_static("\"cache\", \"storage\"");
    headers.insert("clear-site-data", data);
    Ok(response)
}

/// The provider that the login page redirects to, because there is no other way to log in.
fn only_provider(app: &App) -> Option<&OidcProvider> {
    match (app.config.login.local, app.config.oidc.as_slice()) {
        (false, [provider]) => Some(provider),
        _ => None,
    }
}

fn is_after_logout(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| name == "state" && value == LOGGED_OUT_STATE)
}

pub(super) fn login_problem(error: LoginError) -> HttpProblem {
    match error {
        LoginError::UnknownAccount | LoginError::WrongPassword | LoginError::Locked => {
            HttpProblem::login_failed()
        }
        LoginError::Busy => HttpProblem::busy().with_retry_after(1),
        LoginError::Rejected(rejection) => rejection.into(),
    }
}

pub(super) fn body_format(headers: &HeaderMap) -> Option<Format> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Format::from_content_type(content_type)
}
