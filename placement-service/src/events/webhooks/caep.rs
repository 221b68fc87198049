//! The claims of the security event token (SET) that reports the end of a session to a receiver. Decides the content
//! only; must not know keys or HTTP.
//!
//! - [RFC 8417] (SET) defines the claims `iss`, `iat`, `jti`, `aud`, `events`, and the type `secevent+jwt`.
//! - [RFC 9493] defines the subject identifier, `sub_id` with `format`.
//! - The Shared Signals Framework 1.0 requires `sub_id`, forbids `sub` and `exp`, and defines the complex subject with
//!   `session` and `user`.
//! - CAEP 1.0 defines the event `session-revoked` and its members; `event_timestamp` is in seconds.
//! - [RFC 8935] (push delivery) defines the content type, that any 2xx accepts the token, and the `err` codes of a 400,
//!   which repeating the request does not change.
//!
//! [RFC 8417]: https://www.rfc-editor.org/rfc/rfc8417
//! [RFC 9493]: https://www.rfc-editor.org/rfc/rfc9493
//! [RFC 8935]: https://www.rfc-editor.org/rfc/rfc8935

use berth_store::{EndCause, Event};
use serde_json::{Value, json};

/// Event type, CAEP 1.0 section 3.1.
pub const SESSION_REVOKED: &str =
    "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
/// The `typ` of the token (RFC 8417 section 2.3); with `application/`, the content type (RFC 8935 section 2.1).
pub const TOKEN_TYPE: &str = "secevent+jwt";
pub const CONTENT_TYPE: &str = "application/secevent+jwt";
/// The error codes of RFC 8935 section 2.4.
pub const ERROR_CODES: &[&str] = &[
    "invalid_request",
    "invalid_key",
    "invalid_issuer",
    "invalid_audience",
    "authentication_failed",
    "access_denied",
];

/// The claims that report the end of a session; `None` for an event of another kind. `subject` is the `sub` of the
/// session's tokens. They are the same at each
/// delivery attempt, because `iat` is the time of the event.
pub(super) fn claims(
    event: &Event,
    id: &str,
    issuer: &str,
    audience: &str,
    subject: &str,
) -> Option<Value> {
    let cause = event.cause?;
    let at_s = event.at_ms / 1000;
    let mut event_claims = json!({
        "event_timestamp": at_s,
        "reason_admin": { "en": cause.as_str() },
    });
    if let (Some(initiator), Some(claims)) = (initiator(cause), event_claims.as_object_mut()) {
        claims.insert("initiating_entity".to_owned(), initiator.into());
    }
    Some(json!({
        "iss": issuer,
        "aud": audience,
        "jti": id,
        "iat": at_s,
        "sub_id": {
            "format": "complex",
            "session": { "format": "opaque", "id": event.session_ref },
            "user": { "format": "iss_sub", "iss": issuer, "sub": subject },
        },
        "events": { SESSION_REVOKED: event_claims },
    }))
}

/// The `initiating_entity` of CAEP 1.0 section 2: `admin`, `user`, `policy` or `system`; `None` where the cause does not
/// say it.
const fn initiator(cause: EndCause) -> Option<&'static str> {
    match cause {
        EndCause::Logout | EndCause::LoginAgain => Some("user"),
        EndCause::IdleTimeout | EndCause::AbsoluteTimeout | EndCause::SessionLimit => {
            Some("policy")
        }
        EndCause::AccountLocked
        | EndCause::AccountRemoved
        | EndCause::RolesChanged
        | EndCause::Operator => Some("admin"),
        // By the user, or by an operator.
        EndCause::PasswordChanged => None,
        EndCause::BackChannel
        | EndCause::SecurityEvent
        | EndCause::Completed
        | EndCause::ParentEnded
        | EndCause::Other => Some("system"),
    }
}

/// The error code in a receiver's response, if it is one of [`ERROR_CODES`]. Unknown codes could contain anything.
pub(super) fn error_code(body: &[u8]) -> Option<&'static str> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let err = body.get("err")?.as_str()?;
    ERROR_CODES.iter().find(|code| **code == err).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_store::conformance::{event, session_row};

    #[test]
    fn only_session_ends_have_claims_and_causes_name_their_initiator() {
        let mut event = event(&session_row(1), None);
        assert_eq!(claims(&event, "id", "iss", "aud", "ada"), None);
        for cause in EndCause::ALL {
            event.cause = Some(cause);
            let claims = claims(&event, "id", "iss", "aud", "ada").unwrap();
            let event_claims = &claims["events"][SESSION_REVOKED];
            let initiator = event_claims["initiating_entity"].as_str();
            if cause == EndCause::PasswordChanged {
                assert_eq!(initiator, None, "by the user or by an operator");
            } else {
                assert!(["admin", "user", "policy", "system"].contains(&initiator.unwrap()));
            }
            assert_eq!(event_claims["reason_admin"]["en"], cause.as_str());
            assert_eq!(claims["iat"], event.at_ms / 1000);
            assert_eq!(claims["sub_id"]["user"]["sub"], "ada");
            assert!(claims.get("sub").is_none() && claims.get("exp").is_none());
        }
    }

    #[test]
    fn unknown_error_codes_are_dropped() {
        let code = |text: &str| error_code(text.as_bytes());
        assert_eq!(code("{\"err\":\"invalid_key\"}"), Some("invalid_key"));
        assert_eq!(code("{\"err\":\"hunter2\"}"), None);
        assert_eq!(code("{\"error\":\"invalid_key\"}"), None);
        assert_eq!(code("invalid_key"), None);
    }
}
