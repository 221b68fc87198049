//! The body of every rejection: problem+json (RFC 9457) with a constant `reason`.

use crate::RejectReason;
use serde::{Deserialize, Serialize};

/// A rejection. `content-type: application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status, repeated in the body (RFC 9457, section 3.1.2).
    pub status: u16,
    /// One short sentence for people.
    pub title: String,
    /// The constant for programs.
    pub reason: RejectReason,
    /// What exactly is wrong, if that helps the caller. Never contains a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Seconds until a retry is useful; equal to the `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// The id of the request that was rejected, if it has one: the service's log has it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// A complete `Set-Cookie` value (`__Host-berth-anon=...`, or `berth-anon=...` over plain HTTP) that the gateway
    /// sends to the client with a 440. Never the login cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_cookie: Option<String>,
}

impl Problem {
    /// The media type of the body.
    pub const CONTENT_TYPE: &str = "application/problem+json";
}
