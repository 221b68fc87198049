//! The seam to whatever keeps sessions and accounts. Not found is `Ok(None)`; an error means that the
//! store did not answer, never that something is not there.

#[cfg(test)]
pub mod contract;
pub mod sqlite;

use crate::session_id::IdHash;
use async_trait::async_trait;
use std::sync::Arc;

/// The version of `SessionRow::claims` that this binary writes (S2).
pub const PAYLOAD_VERSION: i64 = 1;

/// A session as it is kept. Times in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    pub id_hash: IdHash,
    pub payload_version: i64,
    pub account: String,
    pub roles: Vec<String>,
    pub created_at_ms: u64,
    pub last_seen_at_ms: u64,
    /// Milliseconds without activity that end the session.
    pub idle_timeout_ms: u64,
    /// When the session ends whatever happens.
    pub absolute_expiry_ms: u64,
    /// The session that started this one.
    pub parent: Option<IdHash>,
    /// Which runtime created the session.
    pub runtime: String,
    pub state: SessionState,
    /// Further token claims, a JSON object.
    pub claims: serde_json::Map<String, serde_json::Value>,
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

/// A local account as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    pub name: String,
    /// argon2id in the PHC string format. Not a secret to print either.
    pub password_hash: String,
    pub roles: Vec<String>,
    pub created_at_ms: u64,
}

/// The store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("session store: {0}")]
pub struct StoreError(pub String);

/// Keeps sessions (S1..S5).
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Adds a session. An id hash that is there already is an error.
    async fn insert(&self, row: &SessionRow) -> Result<(), StoreError>;

    /// Finds a session, also one that has run out of time.
    async fn find(&self, id: &IdHash) -> Result<Option<SessionRow>, StoreError>;

    /// Moves `last_seen_at` forward: never backwards, and never makes a row that is gone (S5).
    async fn touch(&self, seen: &[(IdHash, u64)]) -> Result<(), StoreError>;

    /// Removes a session; `false` when it was not there.
    async fn remove(&self, id: &IdHash) -> Result<bool, StoreError>;

    /// The server key of that name; `candidate` becomes it when there is none yet. All replicas get
    /// the same one.
    async fn server_key(&self, name: &str, candidate: [u8; 32]) -> Result<[u8; 32], StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// Keeps local accounts.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Adds an account; `false` when the name is taken, and nothing changes.
    async fn add_account(&self, row: &AccountRow) -> Result<bool, StoreError>;

    /// Finds an account by its exact name.
    async fn find_account(&self, name: &str) -> Result<Option<AccountRow>, StoreError>;

    /// Every account, by name.
    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError>;
}

/// The two seams of one opened store.
#[derive(Clone)]
pub struct Stores {
    pub sessions: Arc<dyn SessionStore>,
    pub accounts: Arc<dyn AccountStore>,
}

/// Opens the store that the configuration names, and brings its tables up to date.
pub async fn open(config: &crate::config::Store) -> Result<Stores, StoreError> {
    match config {
        crate::config::Store::Sqlite { path } => {
            let store = Arc::new(sqlite::SqliteStore::open(path).await?);
            Ok(Stores {
                sessions: store.clone(),
                accounts: store,
            })
        }
    }
}
