//! Sessions as they are kept, and the seam to their store (S1..S5).

use super::event::Event;
use super::session_id::{IdHash, SessionId};
use crate::StoreError;
use async_trait::async_trait;

/// The version of `SessionRow::claims` that this binary writes (S2).
pub const PAYLOAD_VERSION: i64 = 1;

/// A session as it is kept. Times in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    pub id_hash: IdHash,
    /// A salted hash of the session: its only name outside of the store. Unique.
    pub session_ref: String,
    pub payload_version: i64,
    pub account: String,
    pub roles: Vec<String>,
    pub created_at_ms: u64,
    pub last_seen_at_ms: u64,
    /// Milliseconds without activity that end the session.
    pub idle_timeout_ms: u64,
    /// When the session ends whatever happens.
    pub absolute_expiry_ms: u64,
    /// The session that started this one, the one that started that, and so on to the first.
    pub ancestors: Vec<IdHash>,
    /// Which runtime created the session.
    pub runtime: String,
    pub state: SessionState,
    /// Further token claims, a JSON object.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// The identity provider's session behind this one.
    pub provider: Option<ProviderLink>,
}

impl SessionRow {
    /// The session that started this one.
    #[must_use]
    pub fn parent(&self) -> Option<&IdHash> {
        self.ancestors.first()
    }

    /// When the session ends if nothing more happens: the idle or the absolute end.
    #[must_use]
    pub fn ends_at_ms(&self) -> u64 {
        let idle = self.last_seen_at_ms.saturating_add(self.idle_timeout_ms);
        idle.min(self.absolute_expiry_ms)
    }
}

/// What an OpenID provider knows a session by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderLink {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The `sub` claim.
    pub subject: String,
    /// The `sid` claim, when the provider gave one.
    pub session: Option<String>,
    /// What a logout at the provider needs, sealed: never a token in the clear.
    pub logout_hint: Option<String>,
}

/// Whether a session that has not run out of time may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    Active,
}

impl SessionState {
    /// The constant in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
        }
    }
}

/// What became of a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    Yes,
    /// The account has as many live sessions as it may; nothing was kept.
    Full,
}

/// One session that is to end.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    pub id_hash: IdHash,
    /// Ends it only if it has run out of time by then: it may have been active meanwhile (S11).
    pub only_if_over_at_ms: Option<u64>,
    /// What the log says of it.
    pub event: Event,
}

/// Which sessions a list is of. Sessions that have run out of time are in it while they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    Account(String),
    /// Those that this one started itself.
    ChildrenOf(IdHash),
    /// Those with a parent that is not kept any more.
    Orphans,
    /// Those that have run out of time by then.
    OverAt(u64),
    /// Those behind a session, or all sessions, of a provider's subject. One of both must be given.
    Provider {
        provider: String,
        subject: Option<String>,
        session: Option<String>,
    },
}

/// Keeps sessions (S1..S5). What ends or begins a session says so in the event log, in one step.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Adds a session. An id hash that is there already is an error. With a `limit`, only while the
    /// account has fewer sessions without a parent that live at `row.created_at_ms`, exactly, on every
    /// replica.
    async fn insert(
        &self,
        row: &SessionRow,
        limit: Option<u32>,
        event: &Event,
    ) -> Result<Inserted, StoreError>;

    /// Finds a session, also one that has run out of time.
    async fn find(&self, id: &IdHash) -> Result<Option<SessionRow>, StoreError>;

    /// Finds a session by its public name.
    async fn find_by_ref(&self, session_ref: &str) -> Result<Option<SessionRow>, StoreError>;

    /// The key of the session that a cookie would name; `None` when it cannot name one. Stores with ids of
    /// another form than ours say so here.
    fn cookie_id(&self, cookie: &str) -> Option<IdHash> {
        SessionId::parse(cookie).map(|id| id.hash())
    }

    /// Finds the session that a cookie names.
    async fn find_by_cookie(&self, cookie: &str) -> Result<Option<SessionRow>, StoreError> {
        match self.cookie_id(cookie) {
            Some(id) => self.find(&id).await,
            None => Ok(None),
        }
    }

    /// Moves `last_seen_at` forward: never backwards, and never makes a row that is gone (S5).
    async fn touch(&self, seen: &[(IdHash, u64)]) -> Result<(), StoreError>;

    /// Removes sessions and logs their events; those that were there, and only those.
    async fn remove(&self, endings: &[Ending]) -> Result<Vec<IdHash>, StoreError>;

    /// Sessions, oldest first, at most `limit`.
    async fn list(&self, select: &Select, limit: u32) -> Result<Vec<SessionRow>, StoreError>;

    /// Sessions that have not run out of time by `now_ms`.
    async fn count_live(&self, now_ms: u64) -> Result<u64, StoreError>;
}
