//! What a gateway and the placement service tell each other while streams are open:
//! `POST /v1/gateways/{gateway}/events`. The body reports the gateway's streams, the answer carries what
//! it has to act upon. A gateway is one worker of one Envoy, under a name that it made up at its start
//! and never uses again.
//!
//! A report without a `cursor` is answered at once and carries no events. One with a cursor is a poll:
//! it is answered when there are events after that cursor, or after `hold_ms` without any; with
//! [`CURSOR_NOW`] at once, so that the gateway has a place.

use serde::{Deserialize, Deserializer, Serialize};

/// Path of the call, with `{gateway}` for the gateway's name: 1 to 64 of `A-Z a-z 0-9 - . _`.
pub const GATEWAY_EVENTS_PATH: &str = "/v1/gateways/{gateway}/events";
/// Bytes of a gateway's name at the most.
pub const MAX_GATEWAY_NAME: usize = 64;
/// Bytes of a stream's or a session's public name (`stream`, `session_ref`) at the most.
pub const MAX_STREAM_NAME: usize = 64;
/// Bytes of a pool's or an engine's name at the most.
pub const MAX_ENGINE_NAME: usize = 256;
/// Milliseconds that a poll may be held at the most.
pub const MAX_HOLD_MS: u32 = 25_000;
/// Streams, or sessions, in one report at the most; a full list that is longer comes in parts.
pub const MAX_REPORTED: usize = 500;
/// Seconds of silence after which the streams of a gateway count as gone.
pub const SILENCE_S: u64 = 30;
/// The cursor of a gateway that has none yet: events begin now.
pub const CURSOR_NOW: &str = "now";

/// The path of the call for one gateway.
#[must_use]
pub fn gateway_events_path(gateway: &str) -> String {
    GATEWAY_EVENTS_PATH.replace("{gateway}", gateway)
}

/// Whether a report may call a stream or a session so: 1 to [`MAX_STREAM_NAME`] of `A-Z a-z 0-9 - . _`. The
/// service gives no other names, and the gateway takes no others from it: one that could not be reported would
/// have the whole report refused.
#[must_use]
pub fn is_stream_name(text: &str) -> bool {
    is_plain(text, MAX_STREAM_NAME)
}

/// Whether a gateway may be called so: 1 to [`MAX_GATEWAY_NAME`] of `A-Z a-z 0-9 - . _`.
#[must_use]
pub fn is_gateway_name(text: &str) -> bool {
    is_plain(text, MAX_GATEWAY_NAME)
}

fn is_plain(text: &str, most: usize) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=most).contains(&text.len()) && text.bytes().all(plain)
}

/// What has changed since the gateway's report before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayReport {
    /// Grows by one with each report of this gateway, from 1 on. A gap: a report was lost.
    pub sequence: u64,
    /// Which part of the whole list of open streams this is: streams that were reported before and are in
    /// none of its parts are gone when the last part has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<Part>,
    /// Streams that have opened, or, with `full`, that are open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<OpenStream>,
    /// `session_ref` of each session whose clients have sent data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<String>,
    /// Streams that have closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<ClosedStream>,
    /// The place in the event log up to which the gateway has seen everything, or [`CURSOR_NOW`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How long to wait for an event, at most [`MAX_HOLD_MS`].
    #[serde(default)]
    pub hold_ms: u32,
}

/// A part of a full list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The first of several.
    First,
    /// One in between.
    Middle,
    /// The last of several.
    Last,
    /// The whole list at once.
    Whole,
}

/// A stream that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenStream {
    /// Its name, from the placement's answer.
    pub stream: String,
    /// Whose it is.
    pub session_ref: String,
    /// The pool's name, from the placement's answer.
    pub pool: String,
    /// The engine's name, from the placement's answer.
    pub engine: String,
    /// Unix seconds.
    pub opened_at: u64,
}

/// A stream that is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClosedStream {
    /// Its name, from the placement's answer.
    pub stream: String,
    /// Why.
    pub reason: CloseReason,
    /// Milliseconds from the upgrade to the end.
    pub duration_ms: u64,
    /// Bytes from the client.
    #[serde(default)]
    pub bytes_received: u64,
    /// Bytes to the client.
    #[serde(default)]
    pub bytes_sent: u64,
}

/// Why a stream has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// The client or the engine has closed it, or a connection broke.
    Ended,
    /// The engine refused the upgrade, or could not be reached.
    Refused,
    /// The session ended by time: close code 4401.
    Expired,
    /// The session was ended: close code 4403.
    Revoked,
    /// It was open for as long as its route allows: close code 4408.
    TooOld,
    /// Its engine is drained: close code 4503.
    Drained,
}

impl CloseReason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Ended,
        Self::Refused,
        Self::Expired,
        Self::Revoked,
        Self::TooOld,
        Self::Drained,
    ];

    /// The constant for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::TooOld => "too-old",
            Self::Drained => "drained",
        }
    }

    /// The WebSocket close code (RFC 6455, section 7.4.2: 4000 to 4999 are private) that goes with it, when
    /// the gateway closes the stream.
    #[must_use]
    pub const fn code(self) -> Option<u16> {
        match self {
            Self::Ended | Self::Refused => None,
            Self::Expired => Some(4401),
            Self::Revoked => Some(4403),
            Self::TooOld => Some(4408),
            Self::Drained => Some(4503),
        }
    }
}

/// The service's answer to a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayAnswer {
    /// Where the gateway is in the event log now; absent where the report had no cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// In order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<GatewayEvent>,
    /// The service does not know all that the gateway has reported, or events may be missing: the gateway
    /// drops what it has cached and sends its full list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resync: bool,
}

/// Something that a gateway has to act upon. A gateway passes over types that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum GatewayEvent {
    /// A session is over: its streams are closed, its token is forgotten.
    SessionEnded {
        /// Which.
        session_ref: String,
        /// [`CloseReason::Expired`] or [`CloseReason::Revoked`]; one of a newer service is read as the latter.
        #[serde(deserialize_with = "known_or_revoked")]
        reason: CloseReason,
    },
    /// An engine is drained: its streams are closed, spread evenly over that time.
    EngineDrained {
        /// The pool's name.
        pool: String,
        /// The engine's name.
        engine: String,
        /// Milliseconds.
        over_ms: u64,
    },
    /// A type of a newer service.
    #[serde(other)]
    Unknown,
}

fn known_or_revoked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CloseReason, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = CloseReason::ALL.into_iter();
    let mut known = known.filter(|reason| reason.as_str() == text);
    Ok(known.next().unwrap_or(CloseReason::Revoked))
}
