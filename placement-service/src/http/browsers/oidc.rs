//! `/login/oidc/...`: redirects browsers to an OpenID provider and receives them back, and receives logouts from the
//! provider. A failure is a page for browsers and a problem for other clients, with the same reason.

use super::login_response::{
    callback_response, check_rate_limit, client_address, failure_page, public_origin,
    return_to_param, see_other,
};
use crate::core::return_to::ReturnTo;
use crate::http::body::RawBody;
use crate::http::openapi::{BROWSERS, OTHERS, PageOrProblem, ProblemResponse};
use crate::http::problem::{HttpProblem, ResponseReason};
use crate::http::state::App;
use crate::login::oidc::back_channel::LogoutFault;
use crate::login::oidc::{BackChannelError, LOGIN_STATE_TTL_MS, OidcError};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;
use std::net::SocketAddr;
use utoipa::ToSchema;

/// The request of OpenID Connect Back-Channel Logout 1.0, section 2.5.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only for the OpenAPI document")]
struct BackChannelForm {
    logout_token: String,
}

/// The error response of OpenID Connect Back-Channel Logout 1.0, section 2.8.
#[derive(Serialize, ToSchema)]
struct BackChannelErrorResponse {
    error: &'static str,
    error_description: String,
}

pub(in crate::http) const BEGIN_PATH: &str = "/login/oidc/{provider}";
pub(in crate::http) const CALLBACK_PATH: &str = "/login/oidc/{provider}/callback";
pub(in crate::http) const BACK_CHANNEL_PATH: &str = "/login/oidc/{provider}/back-channel-logout";

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// `GET /login/oidc/{provider}`: redirects to the provider's login page.
#[utoipa::path(get, path = BEGIN_PATH, tag = BROWSERS,
    params(("provider" = String, Path, description = "The provider's name"), ("return_to" = Option<String>, Query, description = "A path of this site, to redirect to after the login")),
    responses((status = 303, description = "To the provider"), PageOrProblem<400>, PageOrProblem<404>, ProblemResponse<500>, PageOrProblem<502>, PageOrProblem<503>))]
pub(in crate::http) async fn redirect_to_provider(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let provider = provider_name(path)?;
    let origin = public_origin(&app, &uri, &headers)?;
    let return_to = return_to_param(&uri);
    let redirect = app
        .oidc
        .begin_login(&provider, &origin, return_to.as_ref())
        .await;
    let redirect = match redirect {
        Ok(redirect) => redirect,
        Err(error) => {
            let client = client_address(&app, &headers, peer);
            let provider = app.oidc.configured_name(&provider);
            app.login.record_provider_refusal(provider, &error, client);
            return Ok(failure_response(
                &app,
                &headers,
                oidc_problem(&error),
                return_to.as_ref(),
            ));
        }
    };
    let mut response = see_other(&redirect.location);
    let (state, ttl_s) = (&redirect.state, LOGIN_STATE_TTL_MS / 1000);
    let cookie = app.cookie.set_login_state(state, &redirect.cookie, ttl_s);
    let cookie = cookie.ok_or(berth_api::RejectReason::Internal)?;
    let abandoned = app.cookie.clear_login_states(&headers);
    let headers = response.headers_mut();
    for cookie in abandoned.into_iter().chain([cookie]) {
        headers.append(header::SET_COOKIE, cookie);
    }
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// `GET /login/oidc/{provider}/callback`: receives the browser back from the provider.
#[utoipa::path(get, path = CALLBACK_PATH, tag = BROWSERS,
    params(("provider" = String, Path, description = "The provider's name"), ("code" = Option<String>, Query, description = "From the provider"), ("state" = Option<String>, Query, description = "From the provider")),
    responses((status = 200, description = "Logged in, with `session.cookie.same_site: strict`: a page that continues by itself", body = String, content_type = "text/html"), (status = 303, description = "Logged in"), PageOrProblem<400>, PageOrProblem<403>, PageOrProblem<404>, PageOrProblem<429>, ProblemResponse<500>, PageOrProblem<502>, PageOrProblem<503>))]
pub(in crate::http) async fn provider_callback(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, HttpProblem> {
    let provider = provider_name(path)?;
    let old_cookie = app.cookie.read_replaceable(&headers);
    let client = client_address(&app, &headers, peer);
    let query = uri.query().unwrap_or_default();
    let state = state_param(query);
    let cookie = app.cookie.read_login_state(&headers, &state)?;
    let mut response = match app.oidc.verify_callback(&provider, query, cookie) {
        Ok(attempt) => {
            if let Err(problem) = check_rate_limit(&app, &app.callback_rate, client) {
                return Ok(failure_response(&app, &headers, problem, None));
            }
            let return_to = attempt.return_to();
            let verified = app.oidc.complete_login(attempt).await;
            let login = &app.login;
            let result = login.log_in_by_provider(&provider, verified, old_cookie, client);
            match result.await {
                Ok(session) => {
                    callback_response(&app, (&uri, &headers), &session, return_to.as_ref())?
                }
                Err(error) => {
                    failure_response(&app, &headers, oidc_problem(&error), return_to.as_ref())
                }
            }
        }
        // Anyone can send such a request, and a page of another site can make a browser send it. So it costs nothing,
        // and does not count against the rate limit of its address.
        Err(error) => {
            let provider = app.oidc.configured_name(&provider);
            app.login.record_provider_refusal(provider, &error, client);
            failure_response(&app, &headers, oidc_problem(&error), None)
        }
    };
    if cookie.is_some()
        && let Some(clearing_cookie) = app.cookie.set_login_state(&state, "", 0)
    {
        response
            .headers_mut()
            .append(header::SET_COOKIE, clearing_cookie);
    }
    Ok(response)
}

/// `POST /login/oidc/{provider}/back-channel-logout`: ends the sessions that the provider has logged out (OpenID
/// Connect Back-Channel Logout 1.0, section 2.5).
#[utoipa::path(post, path = BACK_CHANNEL_PATH, tag = OTHERS, params(("provider" = String, Path, description = "The provider's name")),
    request_body(content = BackChannelForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The sessions have ended"), (status = 400, body = BackChannelErrorResponse), ProblemResponse<404>, ProblemResponse<408>, ProblemResponse<413>, ProblemResponse<502>, ProblemResponse<503>))]
pub(in crate::http) async fn back_channel_logout(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    RawBody(body): RawBody,
) -> Result<Response, HttpProblem> {
    let provider = provider_name(path)?;
    let fields = form_urlencoded::parse(&body).filter(|(name, _)| name == "logout_token");
    let tokens: Vec<_> = fields.map(|(_, token)| token).collect();
    let outcome = match tokens.as_slice() {
        [token] => app.oidc.back_channel_logout(&provider, token).await,
        _ => Err(BackChannelError::Token(LogoutFault::Missing)),
    };
    match outcome {
        Ok(_) => Ok((StatusCode::OK, [(header::CACHE_CONTROL, NO_STORE)]).into_response()),
        Err(BackChannelError::Failed(error)) => Err(oidc_problem(&error)),
        Err(BackChannelError::Token(fault)) => {
            let body = BackChannelErrorResponse {
                error: "invalid_request",
                error_description: fault.to_string(),
            };
            let headers = [(header::CACHE_CONTROL, NO_STORE)];
            let mut response = (StatusCode::BAD_REQUEST, headers, Json(body)).into_response();
            let reason = ResponseReason("logout-token-invalid");
            response.extensions_mut().insert(reason);
            Ok(response)
        }
    }
}

/// The `state` of a query, which names the cookie of the login. A query with two of them is rejected later.
fn state_param(query: &str) -> Cow<'_, str> {
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let state = fields.find(|(name, _)| name == "state");
    state.map(|(_, state)| state).unwrap_or_default()
}

/// The name of the provider, from the path.
fn provider_name(path: Result<Path<String>, PathRejection>) -> Result<String, HttpProblem> {
    let unknown = |_| oidc_problem(&OidcError::UnknownProvider);
    path.map(|Path(name)| name).map_err(unknown)
}

/// The response of a failure: a page, or a problem if the client accepts only JSON.
fn failure_response(
    app: &App,
    headers: &HeaderMap,
    problem: HttpProblem,
    return_to: Option<&ReturnTo>,
) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("json") && !accept.contains("html")) {
        return problem.into_response();
    }
    let return_to = return_to.map_or("", ReturnTo::as_str);
    failure_page(app, &problem, problem.title(), "", return_to)
}

/// The only table from an OpenID error to its status and title.
fn oidc_problem(error: &OidcError) -> HttpProblem {
    let (status, title) = match error {
        OidcError::Service(rejection) => return rejection.clone().into(),
        OidcError::MalformedCallback(field) => return HttpProblem::invalid_request(*field),
        OidcError::UnknownProvider => (
            StatusCode::NOT_FOUND,
            "There is no login provider of that name",
        ),
        OidcError::Unreachable(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The login provider does not answer just now. Please try again.",
        ),
        OidcError::InvalidResponse(_) => (
            StatusCode::BAD_GATEWAY,
            "The login provider's answer is not valid.",
        ),
        OidcError::ProviderRefused(_) => (
            StatusCode::BAD_GATEWAY,
            "The login provider refused the login.",
        ),
        OidcError::Denied => (
            StatusCode::FORBIDDEN,
            "The login was not allowed at the provider.",
        ),
        OidcError::StateMissing => (
            StatusCode::BAD_REQUEST,
            "Your browser did not keep the cookie of this login. Please log in again.",
        ),
        OidcError::StateInvalid => (
            StatusCode::BAD_REQUEST,
            "This login took too long, or began elsewhere. Please log in again.",
        ),
        OidcError::StateMismatch => (
            StatusCode::BAD_REQUEST,
            "The provider's answer belongs to another login. Please log in again.",
        ),
        OidcError::Replayed => (
            StatusCode::BAD_REQUEST,
            "This login has been used already. Please log in again.",
        ),
        OidcError::IssuerMismatch => (
            StatusCode::BAD_REQUEST,
            "The answer does not come from the provider of this login.",
        ),
        OidcError::InvalidIdToken(_) => (
            StatusCode::BAD_GATEWAY,
            "The login provider's statement about you is not valid.",
        ),
        OidcError::NonceMismatch => (
            StatusCode::BAD_GATEWAY,
            "The login provider's statement belongs to another login.",
        ),
        OidcError::UnusableAccountName(_) => (
            StatusCode::FORBIDDEN,
            "The login provider does not name an account that can be used here.",
        ),
        OidcError::AccountLocked => (StatusCode::FORBIDDEN, "Your account is locked here."),
        OidcError::NotPermitted => (
            StatusCode::FORBIDDEN,
            "You are known to the login provider, but may not log in here.",
        ),
        OidcError::ClaimsTooLarge => (
            StatusCode::FORBIDDEN,
            "The login provider sends more data about you than this service accepts.",
        ),
    };
    let problem = HttpProblem::new(status, error.reason(), title);
    match error {
        OidcError::Unreachable(_) => problem.with_retry_after(2),
        _ => problem,
    }
}
