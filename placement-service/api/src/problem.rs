//! The body of every refusal: problem+json (RFC 9457) with a constant `reason`.

use crate::Reason;
use serde::{Deserialize, Serialize};

/// A refusal. `content-type: application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status, repeated in the body as RFC 9457 has it.
    pub status: u16,
    /// One short sentence for people.
    pub title: String,
    /// The constant for programs.
    pub reason: Reason,
    /// What exactly was wrong, where it helps. Never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Seconds until a retry makes sense; the `Retry-After` header says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// A whole `Set-Cookie` value (`berth-anon=...`) for the gateway to hand to the client with a
    /// 440. Never the login cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_cookie: Option<String>,
}

impl Problem {
    /// The media type of the body.
    pub const CONTENT_TYPE: &str = "application/problem+json";
}
