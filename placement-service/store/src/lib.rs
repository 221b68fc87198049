//! The seams to whatever keeps sessions, accounts and events, and what goes through them. Not found is
//! `Ok(None)`; an error means that the store did not answer, never that something is not there.

mod circuit_breaker;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
pub mod in_memory;
mod model;
pub mod postgres;
pub mod redis;
pub mod redis_jwt;
mod row;
mod sql;
pub mod sqlite;

pub use error::StoreError;
pub use model::{
    AccountChange, AccountRow, AccountStore, Attempts, Bounds, Cursor, DeadLetter, EndCause,
    Ending, Event, EventKind, EventLog, Inserted, LogId, NotACursor, PAYLOAD_VERSION, ProviderLink,
    Select, SessionRow, SessionState, SessionStore, session_id,
};

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What replicas on one store agree on.
#[async_trait]
pub trait Coordination: Send + Sync + 'static {
    /// The server key of that name; `candidate` becomes it when there is none yet. All replicas get
    /// the same one.
    async fn server_key(&self, name: &str, candidate: [u8; 32]) -> Result<[u8; 32], StoreError>;

    /// Takes or extends the lease `name` for `holder` until `now_ms + ttl_ms`; `false` while another
    /// holder has it. The times are the caller's: a replica with a clock that is ahead may take a lease
    /// early, so whatever a lease protects must stay right when two do it.
    async fn lease(
        &self,
        name: &str,
        holder: &str,
        now_ms: u64,
        ttl_ms: u64,
    ) -> Result<bool, StoreError>;

    /// Remembers `key` until `until_ms`; `true` the first time, `false` while it is remembered.
    async fn once(&self, key: &str, now_ms: u64, until_ms: u64) -> Result<bool, StoreError>;

    /// Whether `key` is remembered, without remembering it.
    async fn was_once(&self, key: &str, now_ms: u64) -> Result<bool, StoreError>;

    /// Forgets whatever `once` no longer needs.
    async fn forget_once(&self, now_ms: u64) -> Result<(), StoreError>;

    /// Keeps a text under a name until it is taken away, with `None`. Names begin with what they belong to.
    async fn note(&self, name: &str, text: Option<&str>) -> Result<(), StoreError>;

    /// Every note whose name begins with `prefix`, by name.
    async fn notes(&self, prefix: &str) -> Result<BTreeMap<String, String>, StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// The seams of one opened store.
#[derive(Clone)]
pub struct Stores {
    pub sessions: Arc<dyn SessionStore>,
    /// `None`: this store keeps no accounts.
    pub accounts: Option<Arc<dyn AccountStore>>,
    pub events: Arc<dyn EventLog>,
    pub shared: Arc<dyn Coordination>,
}

impl Stores {
    /// Of one store that is all of it.
    #[must_use]
    pub fn whole<S>(store: Arc<S>) -> Self
    where
        S: SessionStore + AccountStore + EventLog + Coordination,
    {
        Self {
            sessions: store.clone(),
            accounts: Some(store.clone()),
            events: store.clone(),
            shared: store,
        }
    }
}
