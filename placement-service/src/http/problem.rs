//! The only place where a rejection becomes an HTTP response: problem+json (RFC 9457) with a constant `reason`.

use crate::core::rejection::Rejection;
use crate::core::request_id::current_request_id;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use berth_api::{Problem, RejectReason};
use serde::Serialize;
use utoipa::ToSchema;

/// A rejection as an HTTP response. It serialises like `berth_api::Problem`, but also has reasons that no gateway
/// receives.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct HttpProblem {
    status: u16,
    title: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymous_cookie: Option<String>,
    /// The `x-request-id` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

/// The constant `reason` of a response, as an extension of the response for metrics.
#[derive(Clone, Copy, Debug)]
pub struct ResponseReason(pub &'static str);

macro_rules! own_problems {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $reason:literal, $title:literal;)+) => {
        impl HttpProblem {
            $($(#[$doc])*
            #[must_use]
            pub fn $name() -> Self {
                Self::new(StatusCode::$status, $reason, $title)
            })+

            const OWN_REASONS: &[&str] = &[$($reason,)+];
        }
    };
}

own_problems! {
    /// The name or the password is wrong, or the account is locked; the response does not say which.
    login_failed = UNAUTHORIZED, "login-failed",
        "The name or the password is wrong, or the account is locked for a while";
    /// Too many login attempts from the client's address.
    too_many_logins = TOO_MANY_REQUESTS, "too-many-logins", "Too many logins from this address";
    /// The configuration turns off logins with local accounts.
    local_login_disabled = FORBIDDEN, "local-login-disabled", "Only logins with an OpenID provider are allowed";
    /// The account has no password here, because a provider authenticates its users.
    no_password = FORBIDDEN, "no-password", "The account has no password here";
    /// More logins at once than the service can handle soon.
    busy = SERVICE_UNAVAILABLE, "busy", "Too many logins at once";
    /// The request comes from a page of another site.
    cross_site = FORBIDDEN, "cross-site", "The request comes from another site";
    /// No session has that public name.
    no_such_session = NOT_FOUND, "no-such-session", "There is no such session";
    /// No key of that name has an engine.
    no_such_key = NOT_FOUND, "no-such-key", "There is no such key";
    /// No open stream has that name.
    no_such_stream = NOT_FOUND, "no-such-stream", "There is no such stream";
    /// The pool has no engine of that name.
    no_such_engine = NOT_FOUND, "no-such-engine", "There is no such engine";
    /// Discovery drains the engine, so an operator cannot end the drain.
    drained_by_discovery = CONFLICT, "drained-by-discovery", "Discovery drains the engine";
    /// More gateways report than the service can keep.
    too_many_gateways = TOO_MANY_REQUESTS, "too-many-gateways", "Too many gateways report";
    /// More streams are open at gateways than the service can keep.
    too_many_gateway_streams = TOO_MANY_REQUESTS, "too-many-gateway-streams",
        "Too many streams are open at gateways";
    /// The configuration file has faults, so the previous one stays in force.
    configuration_invalid = UNPROCESSABLE_ENTITY, "configuration-invalid", "The configuration file has faults";
    /// The service has no configuration file to read again, or too many reloads wait.
    reload_unavailable = CONFLICT, "reload-unavailable", "The service cannot reload now";
    /// No webhook has that name.
    no_such_webhook = NOT_FOUND, "no-such-webhook", "There is no such webhook";
    /// The webhook has no dead letter of that number.
    no_such_dead_letter = NOT_FOUND, "no-such-dead-letter", "There is no such dead letter";
    /// The webhook did not accept the event that was sent again.
    webhook_failed = BAD_GATEWAY, "webhook-failed", "The webhook did not accept the event";
    /// The session already has the maximum number of ancestors.
    session_too_deep = CONFLICT, "session-too-deep", "The session has too many ancestors";
    /// The session is its own ancestor.
    session_cycle = CONFLICT, "session-cycle", "The session is its own ancestor";
    /// The session was created by a login, so it has no parent to complete for.
    not_a_child = CONFLICT, "not-a-child", "The session is not a child session";
    /// The request has two login cookies.
    cookie_duplicate = BAD_REQUEST, "cookie-duplicate", "The request has two login cookies";
    /// The login cookie is longer than any that the service sets.
    cookie_too_long = BAD_REQUEST, "cookie-too-long", "The login cookie is too long";
    /// No such page or route.
    not_found = NOT_FOUND, "not-found", "There is nothing here";
    /// The route does not allow the method.
    method_not_allowed = METHOD_NOT_ALLOWED, "method-not-allowed", "The method is not allowed";
    /// The body is neither a form nor JSON.
    unsupported_media_type = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type",
        "The body must be a form or JSON";
    /// The keys that verify a token cannot be fetched.
    keys_unavailable = SERVICE_UNAVAILABLE, "keys-unavailable",
        "The keys of the transmitter cannot be fetched";
    /// The body did not arrive in time.
    body_too_slow = REQUEST_TIMEOUT, "body-too-slow", "The body did not arrive in time";
    /// The body is too large.
    body_too_large = PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large";
    /// The body is incomplete.
    body_incomplete = BAD_REQUEST, "invalid-request", "The body is incomplete";
}

/// The reason of callers without the secret of a client.
const UNKNOWN_CLIENT: &str = "unknown-client";

impl HttpProblem {
    /// Every reason; some appear twice.
    pub fn reasons() -> impl Iterator<Item = &'static str> {
        let shared = RejectReason::ALL.iter().map(|reason| reason.as_str());
        let own = Self::OWN_REASONS.iter().copied();
        shared.chain(own).chain([UNKNOWN_CLIENT])
    }

    pub(super) fn new(status: StatusCode, reason: &'static str, title: &'static str) -> Self {
        Self {
            status: status.as_u16(),
            title,
            reason,
            detail: None,
            retry_after: None,
            anonymous_cookie: None,
            request_id: current_request_id(),
        }
    }

    /// The request itself is malformed; `detail` names the field.
    #[must_use]
    pub fn invalid_request(detail: impl Into<String>) -> Self {
        Rejection::new(RejectReason::InvalidRequest)
            .with_detail(detail)
            .into()
    }

    /// The route is for clients, and the caller did not authenticate as one. `detail` says what is missing.
    #[must_use]
    pub fn unknown_client(detail: &str) -> Self {
        let title = "The caller did not prove that it is a client";
        Self::new(StatusCode::FORBIDDEN, UNKNOWN_CLIENT, title).with_detail(detail.to_owned())
    }

    /// The client's role does not permit this, or the session belongs to another runtime. `detail` says which.
    #[must_use]
    pub fn client_forbidden(detail: impl Into<String>) -> Self {
        let title = "The client may not do this";
        let reason = RejectReason::Forbidden.as_str();
        Self::new(StatusCode::FORBIDDEN, reason, title).with_detail(detail.into())
    }

    /// Adds what exactly is wrong. The caller sees it, so it never contains a secret.
    #[must_use]
    pub fn with_detail(mut self, detail: String) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Adds when a retry is useful, in seconds.
    #[must_use]
    pub const fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Adds a `Set-Cookie` value that the gateway sends to the client.
    #[must_use]
    pub fn with_anonymous_cookie(mut self, set_cookie: String) -> Self {
        self.anonymous_cookie = Some(set_cookie);
        self
    }

    /// Changes the status to 440 Login Timeout: a script may repeat its request after the user has logged in.
    #[must_use]
    pub const fn with_login_timeout(mut self) -> Self {
        self.status = 440;
        self
    }

    /// Seconds until a retry is useful, if known.
    #[must_use]
    pub const fn retry_after_s(&self) -> Option<u32> {
        self.retry_after
    }

    /// The constant for programs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// What exactly is wrong, if there is more to say than the title.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// One short sentence for people.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        self.title
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<Rejection> for HttpProblem {
    fn from(rejection: Rejection) -> Self {
        let reason = rejection.reason;
        Self {
            status: reason.status(),
            title: reason.title(),
            reason: reason.as_str(),
            detail: rejection.detail,
            retry_after: rejection.retry_after_s,
            anonymous_cookie: None,
            request_id: current_request_id(),
        }
    }
}

impl From<RejectReason> for HttpProblem {
    fn from(reason: RejectReason) -> Self {
        Rejection::new(reason).into()
    }
}

impl IntoResponse for HttpProblem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (
            self.status(),
            [
                (header::CONTENT_TYPE, Problem::CONTENT_TYPE),
                (header::CACHE_CONTROL, "no-store"),
            ],
            body,
        )
            .into_response();
        if let Some(seconds) = self.retry_after {
            let seconds = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
            .extensions_mut()
            .insert(ResponseReason(self.reason));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    #[tokio::test]
    async fn every_reason_becomes_the_contracts_problem() {
        for reason in RejectReason::ALL {
            let rejection = Rejection::new(*reason).with_detail("d").with_retry_after(7);
            let problem = HttpProblem::from(rejection).with_anonymous_cookie("c".to_owned());
            let response = problem.into_response();
            assert_eq!(response.status().as_u16(), reason.status());
            assert_eq!(
                response.headers()["content-type"],
                "application/problem+json"
            );
            assert_eq!(response.headers()["retry-after"], "7");
            assert_eq!(response.headers()["cache-control"], "no-store");
            let body = to_bytes(response.into_body(), 10_000).await.unwrap();
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert_eq!((problem.reason, problem.status), (*reason, reason.status()));
            assert_eq!(problem.title, reason.title());
            assert_eq!(problem.detail.as_deref(), Some("d"));
            assert_eq!(problem.retry_after, Some(7));
            assert_eq!(problem.anonymous_cookie.as_deref(), Some("c"));
        }
    }
}
