//! The contract between the Berth filter (a gateway) and the placement service: the JSON bodies of
//! `/v1/placements`, `/v1/tokens` and `/v1/gateways/{gateway}/events`, the stream that carries the calls of
//! the first two, and the reason constants of a refusal.
//!
//! Serde types only: nothing here decides anything, and both sides depend on it, so neither can
//! drift. Unknown fields are ignored on both sides, so that an old and a new version can run side by
//! side. Every body has a golden copy in `tests/fixtures/contract`.

mod calls;
mod gateway;
mod problem;
mod reason;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use calls::{CALLS_METHOD, CALLS_PATH, CALLS_SERVICE, Call, GREETING_ID, MAX_CALLS, Reply};
pub use gateway::{
    CURSOR_NOW, CloseReason, ClosedStream, GATEWAY_EVENTS_PATH, GatewayAnswer, GatewayEvent,
    GatewayReport, MAX_ENGINE_NAME, MAX_GATEWAY_NAME, MAX_HOLD_MS, MAX_REPORTED, MAX_STREAM_NAME,
    OpenStream, Part, SILENCE_S, gateway_events_path, is_gateway_name, is_stream_name,
};
pub use problem::Problem;
pub use reason::Reason;

/// Path of the placement call, `POST` with a [`PlacementRequest`].
pub const PLACEMENTS_PATH: &str = "/v1/placements";
/// Path of the token call, `POST` with a [`TokenRequest`].
pub const TOKENS_PATH: &str = "/v1/tokens";

/// Asks for an engine for one WebSocket upgrade, by `session` or by `token`: exactly one of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlacementRequest {
    /// The value of the login cookie. A secret: never logged, never kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The JWT that a program brought along by itself, without `Bearer `. A secret: never logged, never kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The request's method, `GET` for an HTTP/1.1 upgrade.
    pub method: String,
    /// The request's path with its query, as the client sent it.
    pub path: String,
    /// The request's authority.
    pub host: String,
    /// The client's own name for its browser tab (`berth_tab` in the query), if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tab: Option<String>,
}

/// Where one WebSocket goes, and what it takes along.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlacementAnswer {
    /// The JWT for the engine, without `Bearer `.
    pub token: String,
    /// Unix seconds.
    pub token_expires_at: u64,
    /// Unix seconds: the absolute end of the session.
    pub session_expires_at: u64,
    /// A salted hash of the session: the only name of it that a gateway may keep, log or report.
    pub session_ref: String,
    /// The Envoy cluster that takes the request.
    pub cluster: String,
    /// `ip:port` within the cluster, for an `ORIGINAL_DST` cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The path that the engine gets.
    pub path: String,
    /// Further request headers for the engine, lower-case names.
    #[serde(default)]
    pub set_headers: BTreeMap<String, String>,
    /// Names this stream in later reports.
    pub stream: String,
    /// The pool's name, for reports, metrics and the access log.
    #[serde(default)]
    pub pool: String,
    /// The engine's name, for reports and the access log.
    #[serde(default)]
    pub engine: String,
    /// Why this engine: a constant, for the access log.
    #[serde(default)]
    pub reason: String,
}

/// Asks for the JWT of a session, without placing anything, by `session` or by `token`: exactly one of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRequest {
    /// The value of the login cookie. A secret: never logged, never kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The JWT that a program brought along by itself, without `Bearer `: answered with that very token while its
    /// session lives. A secret: never logged, never kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
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
    /// The account's name.
    pub account: String,
    /// The account's roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

#[cfg(test)]
mod tests;
