//! The affinity record as plain data. Knows neither who claims a record nor when.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

/// The keyed hash (HMAC-SHA-256) of a pool, an affinity and a key: the only form of the key in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityId(pub [u8; 32]);

impl fmt::Debug for AffinityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[affinity id]")
    }
}

/// The keyed hash of what owns records: for keys, the account that a limit applies to; for tabs, the login session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OwnerId(pub [u8; 32]);

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[owner id]")
    }
}

/// What returns to its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinityKind {
    /// All requests of one key of a route.
    Key,
    /// The sockets of one browser tab.
    Tab,
}

impl AffinityKind {
    /// The constant that the store holds.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Tab => "tab",
        }
    }
}

/// A stored affinity. Times are milliseconds since the Unix epoch, by the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffinityRecord {
    pub id: AffinityId,
    pub kind: AffinityKind,
    /// `None`: no limit applies, and no owner's end removes the record.
    pub owner: Option<OwnerId>,
    pub pool: String,
    /// Grows with each claim. Begins at the store's time in milliseconds, so that a record that was removed and
    /// created again does not repeat an epoch.
    pub epoch: u64,
    pub state: AffinityState,
    /// Of the first claim since the record was last absent, released or expired.
    pub created_at_ms: u64,
    pub last_active_at_ms: u64,
    /// While preparing: the deadline of the claim. Then: the end without further activity.
    pub expires_at_ms: u64,
}

/// How far a record has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AffinityState {
    /// A replica is preparing an engine.
    Preparing {
        /// The replica's id.
        claimer: String,
    },
    /// The key has an engine.
    Held(AffinityTarget),
    /// The key has no engine any more.
    Released {
        /// Why: a constant of the service.
        reason: String,
    },
}

impl AffinityState {
    /// The constant that the store holds.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Preparing { .. } => "preparing",
            Self::Held(_) => "held",
            Self::Released { .. } => "released",
        }
    }
}

/// The engine of a record, and what distinguishes it from a later engine of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffinityTarget {
    pub engine: String,
    /// The address of the engine's API and health check.
    pub api: SocketAddr,
    /// The address of streams, if it is another one.
    pub stream: Option<SocketAddr>,
    /// The discovery's name of this life of the engine, such as a pod's UID, where it knows one.
    pub incarnation: Option<String>,
    /// The headers by which the driver identifies the engine session; empty if it has prepared none.
    pub headers: BTreeMap<String, String>,
}
