//! Sessions as stored, and the trait of their store. Decides when a stored session expires; knows no cookie
//! attributes, no token and no caller.

use super::event::Event;
use super::session_id::{IdHash, SessionId};
use crate::StoreError;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The version of `SessionRow::claims` that this binary writes.
pub const PAYLOAD_VERSION: i64 = 1;

/// Claims that only Berth sets: those of its tokens, and those that bind a token to another party (RFC 8693, RFC 7800,
/// OpenID Connect). No provider, no runtime and no other login service can add them to a session.
pub const RESERVED_CLAIMS: [&str; 13] = [
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "roles", "nonce", "azp", "act", "cnf",
];

/// A stored session. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    pub id_hash: IdHash,
    /// A salted hash of the session id, unique: the only name of the session outside of the store.
    pub session_ref: String,
    pub payload_version: i64,
    /// The key of the account: a local account's name, or `provider:name`.
    pub account: String,
    /// The user's name for people; empty: the account has no other name than its own.
    pub display_name: String,
    pub roles: Vec<String>,
    pub created_at_ms: u64,
    pub last_seen_at_ms: u64,
    /// Milliseconds without activity that end the session.
    pub idle_timeout_ms: u64,
    /// When the session ends, however active it is.
    pub absolute_expiry_ms: u64,
    /// The parent session, the parent's parent, and so on up to the first.
    pub ancestors: Vec<IdHash>,
    /// The runtime that created the session.
    pub runtime: String,
    pub state: SessionState,
    /// Further token claims, a JSON object without [`RESERVED_CLAIMS`].
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// The session at the identity provider that this one was created from.
    pub provider: Option<ProviderLink>,
}

impl SessionRow {
    /// The session that started this one.
    #[must_use]
    pub fn parent(&self) -> Option<&IdHash> {
        self.ancestors.first()
    }

    /// When the session expires without further activity: the earlier of the idle and the absolute expiry.
    #[must_use]
    pub fn ends_at_ms(&self) -> u64 {
        let idle = self.last_seen_at_ms.saturating_add(self.idle_timeout_ms);
        idle.min(self.absolute_expiry_ms)
    }
}

/// How an OpenID provider identifies a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderLink {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The `sub` claim.
    pub subject: String,
    /// The `sid` claim, if the provider sent one.
    pub session: Option<String>,
    /// What a logout at the provider needs, encrypted: never a token in plain text.
    pub logout_hint: Option<String>,
}

/// Whether a session that has not expired may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    Active,
}

impl SessionState {
    /// The constant that the store holds.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
        }
    }
}

/// The result of adding a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertResult {
    Inserted,
    /// The account has reached its limit of live sessions; nothing was stored.
    LimitReached,
}

/// One session to remove, with the event that reports its end.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRemoval {
    pub id_hash: IdHash,
    /// Removes the session only if it has expired by then: it may have become active since the caller read it.
    pub only_if_expired_at_ms: Option<u64>,
    /// The event for the log.
    pub event: Event,
}

/// Which sessions to list. Expired sessions are included until they are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionQuery {
    /// By the key of the account.
    Account(String),
    /// The direct children of a session.
    ChildrenOf(IdHash),
    /// Sessions whose parent no longer exists.
    Orphans,
    /// Sessions that have expired by then.
    ExpiredAt(u64),
    /// Sessions created from a provider's session, or from any session of a provider's subject. At least one of
    /// the two must be given.
    Provider {
        provider: String,
        subject: Option<String>,
        session: Option<String>,
    },
}

/// Stores sessions. Adding or removing a session and appending its event to the log is one atomic step.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Adds a session. An id hash that exists already is an error. With a `limit`, adds it only while the
    /// account has fewer sessions without a parent that are live at `row.created_at_ms`; the limit holds
    /// exactly, over all replicas.
    async fn insert(
        &self,
        row: &SessionRow,
        limit: Option<u32>,
        event: &Event,
    ) -> Result<InsertResult, StoreError>;

    /// Finds a session, including an expired one.
    async fn find(&self, id: &IdHash) -> Result<Option<SessionRow>, StoreError>;

    /// Finds a session by its `session_ref`.
    async fn find_by_ref(&self, session_ref: &str) -> Result<Option<SessionRow>, StoreError>;

    /// The key of the session that a cookie value identifies; `None` if the value cannot be a session id.
    /// Stores whose ids have another form override this.
    fn cookie_id(&self, cookie: &str) -> Option<IdHash> {
        SessionId::parse(cookie).map(|id| id.hash())
    }

    /// Finds the session that a cookie value identifies.
    async fn find_by_cookie(&self, cookie: &str) -> Result<Option<SessionRow>, StoreError> {
        match self.cookie_id(cookie) {
            Some(id) => self.find(&id).await,
            None => Ok(None),
        }
    }

    /// Moves `last_seen_at` forward, never backwards; never creates a row that was removed.
    async fn touch(&self, seen: &[(IdHash, u64)]) -> Result<(), StoreError>;

    /// Removes sessions and logs their events. Returns the sessions that existed; only those are logged.
    async fn remove(&self, endings: &[SessionRemoval]) -> Result<Vec<IdHash>, StoreError>;

    /// Sessions, oldest first, at most `limit`.
    async fn list(&self, select: &SessionQuery, limit: u32) -> Result<Vec<SessionRow>, StoreError>;

    /// The number of sessions that have not expired by `now_ms`.
    async fn count_live(&self, now_ms: u64) -> Result<u64, StoreError>;
}
