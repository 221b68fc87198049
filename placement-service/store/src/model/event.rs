//! Session events and the append-only log of them, which every replica, gateway and webhook reads. Decides how
//! events are serialized and how an older version reads the events of a newer one.

use crate::StoreError;
use async_trait::async_trait;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StringDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

/// The kind of a session event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    Created,
    Renewed,
    Expired,
    LoggedOut,
    Revoked,
    ChildCompleted,
    /// A key has another engine, or none. For gateways only.
    KeyMoved,
    /// Written by a newer version; this version does not know it.
    #[serde(skip_deserializing)]
    Other,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EndCause {
    Logout,
    /// The same browser logged in again.
    LoginAgain,
    IdleTimeout,
    AbsoluteTimeout,
    AccountLocked,
    /// An operator removed the account.
    AccountRemoved,
    PasswordChanged,
    RolesChanged,
    /// An operator ended it.
    Operator,
    /// The account reached its session limit, and this session was the oldest.
    SessionLimit,
    /// The identity provider logged the user out.
    BackChannel,
    /// A security event from a trusted transmitter (RFC 8935).
    SecurityEvent,
    /// A child session completed its task.
    Completed,
    ParentEnded,
    /// Written by a newer version; this version does not know the cause.
    #[serde(skip_deserializing)]
    Other,
}

impl EndCause {
    /// Every cause that this version writes.
    pub const ALL: [Self; 14] = [
        Self::Logout,
        Self::LoginAgain,
        Self::IdleTimeout,
        Self::AbsoluteTimeout,
        Self::AccountLocked,
        Self::AccountRemoved,
        Self::PasswordChanged,
        Self::RolesChanged,
        Self::Operator,
        Self::SessionLimit,
        Self::BackChannel,
        Self::SecurityEvent,
        Self::Completed,
        Self::ParentEnded,
    ];

    /// The constant for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::LoginAgain => "login-again",
            Self::IdleTimeout => "idle-timeout",
            Self::AbsoluteTimeout => "absolute-timeout",
            Self::AccountLocked => "account-locked",
            Self::AccountRemoved => "account-removed",
            Self::PasswordChanged => "password-changed",
            Self::RolesChanged => "roles-changed",
            Self::Operator => "operator",
            Self::SessionLimit => "session-limit",
            Self::BackChannel => "back-channel",
            Self::SecurityEvent => "security-event",
            Self::Completed => "completed",
            Self::ParentEnded => "parent-ended",
            Self::Other => "other",
        }
    }

    /// Whether the session ended by a timeout.
    #[must_use]
    pub const fn is_expiry(self) -> bool {
        matches!(self, Self::IdleTimeout | Self::AbsoluteTimeout)
    }

    /// The kind of the event that reports an end for this cause.
    #[must_use]
    pub const fn event_kind(self) -> EventKind {
        match self {
            Self::Logout | Self::LoginAgain | Self::BackChannel => EventKind::LoggedOut,
            Self::IdleTimeout | Self::AbsoluteTimeout => EventKind::Expired,
            Self::Completed => EventKind::ChildCompleted,
            _ => EventKind::Revoked,
        }
    }
}

/// One entry of the log. It identifies sessions by `session_ref` only, never by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    #[serde(deserialize_with = "deserialize_kind")]
    pub kind: EventKind,
    pub session_ref: String,
    /// The key of the account.
    pub account: String,
    /// The identity provider of the account, by its name in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The runtime that created the session.
    pub runtime: String,
    /// Why the session ended; only in events that report an end.
    #[serde(
        default,
        deserialize_with = "deserialize_cause",
        skip_serializing_if = "Option::is_none"
    )]
    pub cause: Option<EndCause>,
    /// The session that started this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_ref: Option<String>,
    /// For `renewed` by a new login: the session before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_ref: Option<String>,
    /// For `child-completed`: the child's result for its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// For `key-moved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<MovedKey>,
}

/// A key that has another engine, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MovedKey {
    /// Its public name.
    pub key: String,
    /// Its epoch from now on.
    pub epoch: u64,
}

impl Event {
    /// The event of a key that has moved.
    #[must_use]
    pub fn key_moved(at_ms: u64, key: String, epoch: u64) -> Self {
        Self {
            at_ms,
            kind: EventKind::KeyMoved,
            session_ref: String::new(),
            account: String::new(),
            provider: None,
            runtime: String::new(),
            cause: None,
            parent_ref: None,
            previous_ref: None,
            result: None,
            moved: Some(MovedKey { key, epoch }),
        }
    }
}

/// Unknown kinds become `Other`: during an upgrade, replicas of the older version read events of the newer one.
fn deserialize_kind<'de, D: Deserializer<'de>>(from: D) -> Result<EventKind, D::Error> {
    let name = String::deserialize(from)?;
    Ok(parse_known(name).unwrap_or(EventKind::Other))
}

/// Unknown causes become `Other`: the event still reports an end.
fn deserialize_cause<'de, D: Deserializer<'de>>(from: D) -> Result<Option<EndCause>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    Ok(name.map(|name| parse_known(name).unwrap_or(EndCause::Other)))
}

fn parse_known<'de, T: Deserialize<'de>>(name: String) -> Option<T> {
    let name: StringDeserializer<Error> = name.into_deserializer();
    T::deserialize(name).ok()
}

/// The oldest and newest position of the log, as sequence numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The last entry that was removed; 0 if none was.
    pub removed: u64,
    /// The newest entry; 0 if there never was one.
    pub newest: u64,
}

/// An event that could not be delivered to a webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetter {
    /// The webhook's name in the configuration.
    pub webhook: String,
    pub sequence: u64,
    pub event: Event,
    /// The error of the last attempt. Never contains a secret.
    pub error: String,
    pub at_ms: u64,
}

/// The event log. Sequence numbers begin at 1, grow by one per entry and become visible in order: a reader that
/// has seen an entry can read all earlier ones.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Appends entries.
    async fn append(&self, events: &[Event]) -> Result<(), StoreError>;

    /// Entries after `sequence`, in order, at most `limit`.
    async fn events_after(
        &self,
        sequence: u64,
        limit: u32,
    ) -> Result<Vec<(u64, Event)>, StoreError>;

    /// The oldest and newest position of the log.
    async fn bounds(&self) -> Result<Bounds, StoreError>;

    /// Removes the oldest entries; the newest `keep` remain.
    async fn trim_events(&self, keep: u64) -> Result<(), StoreError>;

    /// The position of `reader`; `None` if it has never set one.
    async fn position(&self, reader: &str) -> Result<Option<u64>, StoreError>;

    /// Stores the position of `reader`.
    async fn set_position(&self, reader: &str, sequence: u64) -> Result<(), StoreError>;

    /// Stores a dead letter; replaces one with the same webhook and sequence. Only the newest `keep` of the
    /// webhook remain.
    async fn add_dead_letter(&self, letter: &DeadLetter, keep: u32) -> Result<(), StoreError>;

    /// The dead letter of a webhook with this sequence number.
    async fn dead_letter(
        &self,
        webhook: &str,
        sequence: u64,
    ) -> Result<Option<DeadLetter>, StoreError>;

    /// The dead letters of a webhook, oldest first, at most `limit`.
    async fn dead_letters(&self, webhook: &str, limit: u32) -> Result<Vec<DeadLetter>, StoreError>;

    /// Removes a dead letter; `false` if there was none.
    async fn remove_dead_letter(&self, webhook: &str, sequence: u64) -> Result<bool, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_newer_version_deserialize() {
        let text = r#"{"at_ms":1,"kind":"frozen","session_ref":"s","account":"a","runtime":"r","cause":"frost"}"#;
        let event: Event = serde_json::from_str(text).unwrap();
        let read = (event.kind, event.cause);
        assert_eq!(read, (EventKind::Other, Some(EndCause::Other)));
        let known = text
            .replace("frozen", "revoked")
            .replace("frost", "operator");
        let event: Event = serde_json::from_str(&known).unwrap();
        let read = (event.kind, event.cause);
        assert_eq!(read, (EventKind::Revoked, Some(EndCause::Operator)));
        // A configuration must use names that this version knows.
        assert!(serde_json::from_str::<EventKind>("\"frozen\"").is_err());
        assert!(serde_json::from_str::<EventKind>("\"other\"").is_err());
    }
}
