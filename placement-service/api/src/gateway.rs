//! The bodies of `POST /v1/gateways/{gateway}/events`. With the request a gateway reports its streams; with the answer
//! the service sends the events that the gateway must act on. A gateway is one worker of one Envoy. It generates its
//! name when it starts, and never uses that name again.
//!
//! The service answers a report without a `cursor` at once and without events. A report with a cursor is a long poll:
//! the service answers when there are events after that cursor, or after `poll_timeout_ms` without any. It answers
//! [`CURSOR_NOW`] at once, so that the gateway gets its first cursor.

use serde::{Deserialize, Deserializer, Serialize};

/// Path of the request; `{gateway}` stands for the gateway's name: 1 to 64 of `A-Z a-z 0-9 - . _`.
pub const GATEWAY_EVENTS_PATH: &str = "/v1/gateways/{gateway}/events";
/// Maximum length of a gateway's name, in bytes.
pub const MAX_GATEWAY_NAME: usize = 64;
/// Maximum length of the public name of a stream or a session (`stream`, `session_ref`), in bytes.
pub const MAX_STREAM_NAME: usize = 64;
/// Maximum length of the name of a pool or an engine, in bytes.
pub const MAX_ENGINE_NAME: usize = 256;
/// Maximum length of the id of an Envoy, in bytes.
pub const MAX_NODE_ID: usize = 256;
/// Maximum length of a filter's version, in bytes.
pub const MAX_VERSION: usize = 64;
/// Maximum time that a poll is held, in milliseconds.
pub const MAX_POLL_TIMEOUT_MS: u32 = 25_000;
/// Maximum number of streams, of sessions, of keys, or of engines, in one report; a longer full list is sent in parts.
pub const MAX_REPORT_ENTRIES: usize = 500;
/// Seconds without a report after which the streams of a gateway count as closed.
pub const GATEWAY_TIMEOUT_S: u64 = 30;
/// The cursor of a gateway that has none yet: its events start now.
pub const CURSOR_NOW: &str = "now";

/// The path of the request of one gateway.
#[must_use]
pub fn gateway_events_path(gateway: &str) -> String {
    GATEWAY_EVENTS_PATH.replace("{gateway}", gateway)
}

/// Whether a text is a valid name of a stream or a session: 1 to [`MAX_STREAM_NAME`] of `A-Z a-z 0-9 - . _`. The
/// service gives only such names, and the gateway accepts only such names, because the service rejects a whole report
/// if one name in it is invalid.
#[must_use]
pub fn is_stream_name(text: &str) -> bool {
    is_valid_name(text, MAX_STREAM_NAME)
}

/// Whether a text is a valid name of a gateway: 1 to [`MAX_GATEWAY_NAME`] of `A-Z a-z 0-9 - . _`.
#[must_use]
pub fn is_gateway_name(text: &str) -> bool {
    is_valid_name(text, MAX_GATEWAY_NAME)
}

/// Whether a text is a valid id of an Envoy: 1 to [`MAX_NODE_ID`] bytes of printable ASCII.
#[must_use]
pub fn is_node_id(text: &str) -> bool {
    (1..=MAX_NODE_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether a text is a valid version of a filter: 1 to [`MAX_VERSION`] of `A-Z a-z 0-9 - . _ +`.
#[must_use]
pub fn is_version(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._+".contains(&b);
    (1..=MAX_VERSION).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_valid_name(text: &str, max_len: usize) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=max_len).contains(&text.len()) && text.bytes().all(plain)
}

/// The changes since the gateway's previous report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayReport {
    /// Starts at 1 and grows by one with each report of this gateway. A gap means that a report was lost.
    pub sequence: u64,
    /// Which part of the full list of open streams this report contains. When the last part has arrived, streams
    /// that were reported before and are in no part count as closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<FullSyncPart>,
    /// Streams that have opened; with `full`, streams that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<OpenStream>,
    /// `session_ref` of each session whose clients have sent data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<String>,
    /// Each key ([`KeyAffinity::key`](crate::KeyAffinity::key)) with requests or data of clients that its route counts
    /// as activity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active_keys: Vec<String>,
    /// Engines that a plain request of a key failed to reach: the service probes them at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_engines: Vec<FailedEngine>,
    /// Streams that have closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<ClosedStream>,
    /// Who reports. Sent with each poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<GatewayIdentity>,
    /// The position in the event log up to which the gateway has received all events, or [`CURSOR_NOW`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How long to wait for an event, in milliseconds; at most [`MAX_POLL_TIMEOUT_MS`].
    #[serde(default)]
    pub poll_timeout_ms: u32,
}

/// Which Envoy a gateway belongs to, and the state of its filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayIdentity {
    /// The `node.id` of the Envoy. All workers of an Envoy have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The version of the filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Milliseconds since the filter started in this worker. A drain of the Envoy does not hold for a worker that
    /// started after it.
    pub uptime_ms: u64,
    /// The gateway refuses new WebSockets, as the last [`GatewayEvent::GatewayDrained`] demanded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refusing: bool,
}

/// A part of a full list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FullSyncPart {
    /// The first of several parts.
    First,
    /// A part between the first and the last.
    Middle,
    /// The last of several parts.
    Last,
    /// The whole list in one report.
    Whole,
}

/// An open stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenStream {
    /// The stream's name, from the placement's answer.
    pub stream: String,
    /// The session that the stream belongs to.
    pub session_ref: String,
    /// The pool's name, from the placement's answer.
    pub pool: String,
    /// The engine's name, from the placement's answer.
    pub engine: String,
    /// When the stream opened, in Unix seconds.
    pub opened_at: u64,
    /// The key of the stream, from the placement's answer; absent on a route without affinity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// An engine that did not answer a plain request, or that could not be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FailedEngine {
    /// The pool's name, from the placement's answer.
    pub pool: String,
    /// The engine's name, from the placement's answer.
    pub engine: String,
}

/// A closed stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClosedStream {
    /// The stream's name, from the placement's answer.
    pub stream: String,
    /// Why the stream closed.
    pub reason: CloseReason,
    /// Milliseconds from the upgrade to the close.
    pub duration_ms: u64,
    /// Bytes from the client.
    #[serde(default)]
    pub bytes_received: u64,
    /// Bytes to the client.
    #[serde(default)]
    pub bytes_sent: u64,
    /// The code of the client's close frame, if it sent one with a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
}

impl ClosedStream {
    /// Whether the client has closed the stream as done (code 1000, RFC 6455 section 7.4.1): it does not come back.
    #[must_use]
    pub fn client_left(&self) -> bool {
        self.reason == CloseReason::Ended && self.close_code == Some(1000)
    }
}

/// Why a stream closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// The client or the engine closed it, or a connection broke.
    Ended,
    /// The engine refused the upgrade, or could not be reached.
    Refused,
    /// The session expired: close code 4401.
    Expired,
    /// The session was ended, such as by a logout or an operator: close code 4403.
    Revoked,
    /// It reached the maximum age that its route allows: close code 4408.
    TooOld,
    /// Its engine or its gateway is drained: close code 4503.
    Drained,
    /// An operator closed this one stream; its session goes on: close code 4410.
    ClosedByOperator,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Ended,
        Self::Refused,
        Self::Expired,
        Self::Revoked,
        Self::TooOld,
        Self::Drained,
        Self::ClosedByOperator,
    ];

    /// The constant for metric labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::TooOld => "too-old",
            Self::Drained => "drained",
            Self::ClosedByOperator => "closed-by-operator",
        }
    }

    /// The WebSocket close code that the gateway sends, if it is the gateway that closes the stream (RFC 6455, section
    /// 7.4.2: 4000 to 4999 are for private use).
    #[must_use]
    pub const fn close_code(self) -> Option<u16> {
        match self {
            Self::Ended | Self::Refused => None,
            Self::Expired => Some(4401),
            Self::Revoked => Some(4403),
            Self::TooOld => Some(4408),
            Self::Drained => Some(4503),
            Self::ClosedByOperator => Some(4410),
        }
    }
}

/// The service's answer to a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayAnswer {
    /// The gateway's new position in the event log; absent if the report had no cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Events in the order of the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<GatewayEvent>,
    /// The service has missed a report of the gateway, or the gateway may have missed events: the gateway must drop
    /// its caches and send its full list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
}

/// An event that a gateway must act on. A gateway ignores types that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum GatewayEvent {
    /// A session ended: the gateway closes its streams and drops its token.
    SessionEnded {
        /// The session's public name.
        session_ref: String,
        /// [`CloseReason::Expired`] or [`CloseReason::Revoked`]; an unknown reason of a newer service is read as
        /// `Revoked`.
        #[serde(deserialize_with = "known_or_revoked")]
        reason: CloseReason,
    },
    /// An operator has ended one stream: the gateway closes it, with [`CloseReason::ClosedByOperator`].
    StreamEnded {
        /// The stream's name.
        stream: String,
    },
    /// An engine is drained: the gateway closes its streams, spread evenly over a time. It closes the streams of one key
    /// together, after [`drain_delay_ms`](crate::drain_delay_ms).
    EngineDrained {
        /// The pool's name.
        pool: String,
        /// The engine's name.
        engine: String,
        /// The time over which the streams are closed, in milliseconds.
        over_ms: u64,
    },
    /// The drain of an engine has ended: streams that open there from now on stay open. Those that the drain has scheduled
    /// are still closed.
    EngineUndrained {
        /// The pool's name.
        pool: String,
        /// The engine's name.
        engine: String,
    },
    /// A key has another engine, or none: the gateway drops what it knows of the key with a lower epoch.
    KeyMoved {
        /// The key, as in [`KeyAffinity::key`](crate::KeyAffinity::key).
        key: String,
        /// The epoch of the key from now on.
        epoch: u64,
    },
    /// An engine takes no more requests: the gateway drops what it knows of the keys that are there. Streams stay open.
    EngineClosed {
        /// The pool's name.
        pool: String,
        /// The engine's name.
        engine: String,
    },
    /// The Envoy of the gateway is drained: the gateway closes all its streams, spread evenly over a time.
    GatewayDrained {
        /// The time over which the streams are closed, in milliseconds.
        over_ms: u64,
        /// Whether the gateway refuses new WebSockets from now on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        refuse: bool,
    },
    /// The drain of the gateway's Envoy has ended: the gateway accepts new WebSockets again.
    GatewayUndrained,
    /// A type that only a newer service knows.
    #[serde(other)]
    Unknown,
}

fn known_or_revoked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CloseReason, D::Error> {
    let text = String::deserialize(deserializer)?;
    let reasons = CloseReason::ALL.into_iter();
    let mut matching = reasons.filter(|reason| reason.as_str() == text);
    Ok(matching.next().unwrap_or(CloseReason::Revoked))
}
