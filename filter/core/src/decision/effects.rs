//! What the host does for a decision: header mutations, local replies, calls. Plain values; decides nothing.

use crate::auth::token_cache::CacheKey;
use crate::decision::rejection::RejectReason;
use std::borrow::Cow;

/// One change of the request's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderMutation {
    /// Remove every header of this name.
    Remove(String),
    /// Replace every header of this name by this one.
    Set(Cow<'static, str>, Vec<u8>),
    /// Add this header to those of its name.
    Add(Cow<'static, str>, Vec<u8>),
    /// Replace every header of this name by one with 16 random bytes in base64.
    Nonce(&'static str),
}

impl HeaderMutation {
    /// Sets `Authorization` to this value.
    #[must_use]
    pub(super) const fn authorization(value: Vec<u8>) -> Self {
        Self::Set(Cow::Borrowed("authorization"), value)
    }
}

/// The state of the session of a request, for applications, in `x-berth-session`. Clients cannot set this header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionState {
    /// The request has the token of its session.
    Live,
    /// Its cookie names a session that has ended: it passes without a token.
    Expired,
    /// It has no session: it passes without a token, or with a token of a program.
    None,
}

impl SessionState {
    /// The header with this state.
    #[must_use]
    pub(super) fn header(self) -> HeaderMutation {
        let value = match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::None => "none",
        };
        HeaderMutation::Set(Cow::Borrowed("x-berth-session"), value.into())
    }
}

/// The value of `Authorization` for a JWT.
#[must_use]
pub(super) fn bearer(token: &str) -> Vec<u8> {
    format!("Bearer {token}").into_bytes()
}

/// A call to the placement service: a `POST` with a JSON body.
#[derive(Clone, PartialEq, Eq)]
pub struct Callout {
    /// The path at the service.
    pub path: &'static str,
    /// The JSON. Contains the secret of a session.
    pub body: Vec<u8>,
    /// The session in the cache, when its requests share one response.
    pub shared: Option<CacheKey>,
}

/// Why a call has no response of the placement service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Envoy has no cluster of this name.
    ClusterMissing,
    /// Envoy could not send it, or its response could not be read.
    Unreachable,
}

/// A response to the client that the filter makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// Why: for the log and the metrics.
    pub reason: RejectReason,
    /// The index of the request's route, if it has one: for the metrics.
    pub route: Option<usize>,
    /// Details for the log.
    pub detail: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// Response headers.
    pub headers: Vec<(&'static str, String)>,
    /// Response body.
    pub body: Vec<u8>,
}

impl LocalReply {
    /// The same reply, to a request of this route.
    #[must_use]
    pub(super) fn for_route(self, route: Option<usize>) -> Self {
        Self { route, ..self }
    }
}
