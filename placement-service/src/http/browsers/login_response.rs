//! What logins by password and by OpenID provider share: the client's address, the rate limit, the path to return to,
//! and the responses of success and failure. Authenticates nobody.

use super::cross_site::requested_host;
use super::login_form::Format;
use crate::config::SameSite;
use crate::core::client_address as forwarded;
use crate::core::return_to::ReturnTo;
use crate::http::problem::{HttpProblem, ResponseReason};
use crate::http::state::App;
use crate::login::StartedSession;
use crate::login::rate_limit::LoginRateLimiter;
use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use berth_api::RejectReason;
use berth_store::ProviderLink;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use utoipa::ToSchema;

/// The JSON response of a login.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LoginResponse<'a> {
    account: &'a str,
    /// The user's name for people.
    display_name: &'a str,
    roles: &'a [String],
    /// The path to continue at.
    return_to: &'a str,
}

/// The client's address, by the headers of trusted proxies.
pub(in crate::http) fn client_address(app: &App, headers: &HeaderMap, peer: SocketAddr) -> IpAddr {
    let forwarded_for = headers.get_all("x-forwarded-for").iter();
    let forwarded_for = forwarded_for.map(HeaderValue::as_bytes);
    let trusted = app.config.login.trusted_proxies;
    forwarded::client_address(forwarded_for, peer.ip(), trusted)
}

/// Applies the rate limit. Must run before the service looks up an account, hashes a password or calls a provider.
pub(in crate::http) fn check_rate_limit(
    app: &App,
    rate: &LoginRateLimiter,
    client: IpAddr,
) -> Result<(), HttpProblem> {
    rate.admit(client).map_err(|wait_s| {
        app.login.record_rate_limited(client);
        HttpProblem::too_many_logins().with_retry_after(wait_s)
    })
}

/// The response of a password login that succeeded, with its cookies. `request`: URI and headers of the request.
pub(in crate::http) fn success_response(
    app: &App,
    request: (&Uri, &HeaderMap),
    session: &StartedSession,
    return_to: Option<&ReturnTo>,
    format: Format,
) -> Result<Response, HttpProblem> {
    let return_to = path_after_login(app, return_to);
    let response = match format {
        Format::Form => see_other(return_to),
        Format::Json => Json(LoginResponse {
            account: &session.live.account,
            display_name: &session.live.display_name,
            roles: &session.live.roles,
            return_to,
        })
        .into_response(),
    };
    with_login_cookies(app, request, session, response)
}

/// The response of a login at a provider that succeeded, with its cookies. Browsers do not send a `SameSite=Strict`
/// cookie with a redirect that began at another site, so that a redirect would lead to the login again: then the
/// response is a page, which continues by itself.
pub(in crate::http) fn callback_response(
    app: &App,
    request: (&Uri, &HeaderMap),
    session: &StartedSession,
    return_to: Option<&ReturnTo>,
) -> Result<Response, HttpProblem> {
    let return_to = path_after_login(app, return_to);
    let response = match app.config.session.cookie.same_site {
        SameSite::Strict => app.pages.logged_in(return_to),
        SameSite::Lax | SameSite::None => see_other(return_to),
    };
    with_login_cookies(app, request, session, response)
}

fn path_after_login<'a>(app: &'a App, return_to: Option<&'a ReturnTo>) -> &'a str {
    let fallback = app.config.login.default_return_to.as_str();
    return_to.map_or(fallback, ReturnTo::as_str)
}

fn with_login_cookies(
    app: &App,
    (uri, headers): (&Uri, &HeaderMap),
    session: &StartedSession,
    mut response: Response,
) -> Result<Response, HttpProblem> {
    let cookie = app.cookie.set(&session.id).ok_or(RejectReason::Internal)?;
    let device_cookie = session.device_cookie.as_deref();
    let device_cookie = device_cookie.and_then(|value| app.device_cookie.set(value));
    let duplicates = app.cookie.clear_duplicates(uri, headers);
    let headers = response.headers_mut();
    // The login cookie after them: a browser may treat it as the same cookie as that of a domain.
    let cookies = duplicates.into_iter().chain([cookie]);
    for cookie in cookies.chain(device_cookie) {
        headers.append(header::SET_COOKIE, cookie);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The login page with the message of a login that failed.
pub(in crate::http) fn failure_page(
    app: &App,
    problem: &HttpProblem,
    message: &str,
    username: &str,
    return_to: &str,
) -> Response {
    let status = problem.status();
    let mut response = app.pages.login(status, message, username, return_to);
    if let Some(seconds) = problem.retry_after_s() {
        let seconds = HeaderValue::from(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    let reason = ResponseReason(problem.reason());
    response.extensions_mut().insert(reason);
    response
}

/// The `return_to` of a query, if it is valid.
pub(in crate::http) fn return_to_param(uri: &Uri) -> Option<ReturnTo> {
    let query = uri.query().unwrap_or_default();
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let (_, value) = fields.find(|(name, _)| name == "return_to")?;
    ReturnTo::parse(&value)
}

/// A redirect to a path or URL that must be validated already.
pub(in crate::http) fn see_other(path: &str) -> Response {
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// The origin of this site as browsers see it.
pub(in crate::http) fn public_origin(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<String, HttpProblem> {
    if let Some(url) = &app.config.login.public_url {
        return Ok(url.clone());
    }
    let host = requested_host(uri, headers).unwrap_or_default();
    let is_host_byte =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    if host.is_empty() || !host.bytes().all(is_host_byte) {
        return Err(HttpProblem::invalid_request("host is malformed"));
    }
    let scheme = if app.config.is_https_site() {
        "https"
    } else {
        "http"
    };
    Ok(format!("{scheme}://{host}"))
}

/// The URL of the logout at the provider, if it has one.
pub(in crate::http) async fn logout_url(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
    link: &ProviderLink,
) -> Option<String> {
    let origin = public_origin(app, uri, headers).ok()?;
    app.oidc.logout_url(link, &origin).await
}
