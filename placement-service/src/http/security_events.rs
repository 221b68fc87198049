//! `POST /security-events`: receives security events that trusted transmitters push (RFC 8935). Knows no meaning of an
//! event.

use super::body::RawBody;
use super::openapi::{OTHERS, ProblemResponse};
use super::problem::{HttpProblem, ResponseReason};
use super::state::App;
use crate::events::security_events::ReceiveError;
use crate::events::security_events::SetError;
use crate::events::webhooks::caep::CONTENT_TYPE;
use crate::sessions::store_down;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Seconds until a transmitter should retry if its keys could not be fetched.
const KEYS_RETRY_S: u32 = 30;

/// The body of an error response (RFC 8935, section 2.3).
#[derive(Serialize, ToSchema)]
struct SetErrorResponse {
    err: &'static str,
    description: String,
}

/// Receives one security event token.
#[utoipa::path(post, path = "/security-events", tag = OTHERS,
    request_body(content = String, content_type = "application/secevent+jwt", description = "A security event token (RFC 8417)"),
    responses((status = 202, description = "Accepted"), (status = 400, body = SetErrorResponse), ProblemResponse<404>, ProblemResponse<503>))]
pub(super) async fn receive(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<RawBody, HttpProblem>,
) -> Result<Response, HttpProblem> {
    let receiver = app.security_events.as_ref();
    let receiver = receiver.ok_or_else(HttpProblem::not_found)?;
    if !is_set_content_type(&headers) {
        let description = "the content type must be application/secevent+jwt";
        return Ok(set_error_response(SetError::invalid_request(description)));
    }
    let Ok(RawBody(body)) = body else {
        let description = "the body is too large, or did not come whole";
        return Ok(set_error_response(SetError::invalid_request(description)));
    };
    match receiver.receive(&body).await {
        Ok(()) => Ok(StatusCode::ACCEPTED.into_response()),
        Err(ReceiveError::Set(error)) => Ok(set_error_response(error)),
        Err(ReceiveError::Keys(_)) => {
            Err(HttpProblem::keys_unavailable().with_retry_after(KEYS_RETRY_S))
        }
        Err(ReceiveError::Store(error)) => Err(store_down(&error).into()),
    }
}

fn is_set_content_type(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let media = content_type.and_then(|value| value.split(';').next());
    media.is_some_and(|media| media.trim().eq_ignore_ascii_case(CONTENT_TYPE))
}

/// The error response of RFC 8935, section 2.3.
fn set_error_response(error: SetError) -> Response {
    let head = [
        (header::CONTENT_LANGUAGE, "en"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let body = Json(SetErrorResponse {
        err: error.code,
        description: error.message.to_string(),
    });
    let mut response = (StatusCode::BAD_REQUEST, head, body).into_response();
    response.extensions_mut().insert(ResponseReason(error.code));
    response
}
