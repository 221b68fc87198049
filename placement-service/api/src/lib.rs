//! The contract between the Berth filter (a gateway) and the placement service: the JSON bodies of `/v1/placements`,
//! `/v1/tokens` and `/v1/gateways/{gateway}/events`, the call stream that replaces requests to the first two, and the
//! reasons of a rejection.
//!
//! This crate has types and no decisions. Both sides depend on it, so they cannot drift apart. Both sides ignore
//! unknown fields, so that an old and a new version can run side by side. `tests/fixtures/contract` has a golden copy
//! of every body.

mod affinity;
mod calls;
mod excerpt;
mod gateway;
mod problem;
mod reason;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use affinity::{AffinityScope, KeyAffinity, MAX_KEY_NAME, drain_delay_ms, is_key_name};
pub use calls::{CALLS_METHOD, CALLS_PATH, CALLS_SERVICE, Call, GREETING_ID, MAX_CALLS, Reply};
pub use excerpt::Excerpt;
pub use gateway::{
    CURSOR_NOW, CloseReason, ClosedStream, FailedEngine, FullSyncPart, GATEWAY_EVENTS_PATH,
    GATEWAY_TIMEOUT_S, GatewayAnswer, GatewayEvent, GatewayIdentity, GatewayReport,
    MAX_ENGINE_NAME, MAX_GATEWAY_NAME, MAX_NODE_ID, MAX_POLL_TIMEOUT_MS, MAX_REPORT_ENTRIES,
    MAX_STREAM_NAME, MAX_VERSION, OpenStream, gateway_events_path, is_gateway_name, is_node_id,
    is_stream_name, is_version,
};
pub use problem::Problem;
pub use reason::RejectReason;

/// Path of the placement call, `POST` with a [`PlacementRequest`].
pub const PLACEMENTS_PATH: &str = "/v1/placements";
/// Path of the token call, `POST` with a [`TokenRequest`].
pub const TOKENS_PATH: &str = "/v1/tokens";

/// Maximum length of the id of a request, in bytes.
pub const MAX_REQUEST_ID: usize = 128;

/// Whether a text is an id of a request that may be logged: 1 to [`MAX_REQUEST_ID`] of `A-Z a-z 0-9 - . _ : / + =`.
/// Envoy's `x-request-id` is a UUID; a proxy in front of it may have set another one.
#[must_use]
pub fn is_request_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._:/+=".contains(&b);
    (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(allowed)
}

/// Requests an engine for one request: a WebSocket upgrade, or a plain request of a route that allows them. Exactly one of `session` and `token` is set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlacementRequest {
    /// The value of the login cookie. A secret: never logged, never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The JWT that the client sent, without `Bearer `. A secret: never logged, never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The name of the gateway that sends this, as in the path of its reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The request's method, `GET` for an HTTP/1.1 upgrade.
    pub method: String,
    /// Whether the request is a WebSocket upgrade; absent: it is. Older gateways place only upgrades.
    #[serde(default = "upgrade", skip_serializing_if = "Clone::clone")]
    pub upgrade: bool,
    /// The request's path with its query, as the client sent it.
    pub path: String,
    /// The request's authority.
    pub host: String,
    /// The client's name for its browser tab (`berth_tab` in the query), if it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tab: Option<String>,
    /// The id of the client's request, from Envoy: see [`is_request_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

const fn upgrade() -> bool {
    true
}

/// The engine of one request, and the changes to the request that goes there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlacementAnswer {
    /// The JWT for the engine, without `Bearer `.
    pub token: String,
    /// Unix seconds.
    pub token_expires_at: u64,
    /// Unix seconds: the absolute end of the session.
    pub session_expires_at: u64,
    /// A salted hash of the session: the only name of the session that a gateway may keep, log or report.
    pub session_ref: String,
    /// The Envoy cluster that the request is routed to.
    pub cluster: String,
    /// `ip:port` within the cluster, for an `ORIGINAL_DST` cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The path of the request to the engine.
    pub path: String,
    /// Further request headers for the engine; names are in lower case.
    #[serde(default)]
    pub set_headers: BTreeMap<String, String>,
    /// The name of this stream in later reports; empty for a plain request.
    pub stream: String,
    /// The pool's name, for reports, metrics and the access log.
    #[serde(default)]
    pub pool: String,
    /// The engine's name, for reports and the access log.
    #[serde(default)]
    pub engine: String,
    /// Why this engine was selected: a constant, for the access log.
    #[serde(default)]
    pub reason: String,
    /// Where further requests of the same key go; absent on a route without affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<KeyAffinity>,
}

/// Requests the JWT of a session, without a placement. Exactly one of `session` and `token` is set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRequest {
    /// The value of the login cookie. A secret: never logged, never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The JWT that the client sent, without `Bearer `. The answer is the same token while its session is active. A
    /// secret: never logged, never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The id of the client's request, from Envoy: see [`is_request_id`]. Of the first one, if several requests share the
    /// call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The JWT of a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenAnswer {
    /// The JWT, without `Bearer `.
    pub token: String,
    /// Unix seconds.
    pub token_expires_at: u64,
    /// Unix seconds: the absolute end of the session.
    pub session_expires_at: u64,
    /// A salted hash of the session.
    pub session_ref: String,
    /// The key of the account: a local account's name, or `provider:name`.
    pub account: String,
    /// The user's name for people.
    #[serde(default)]
    pub display_name: String,
    /// The account's roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

#[cfg(test)]
mod tests;
