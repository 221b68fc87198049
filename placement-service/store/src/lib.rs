//! The traits that the stores of sessions, accounts, events and affinity records implement, and the data types that pass through
//! them. `Ok(None)` means not found; an error means that the store did not answer, never that a row is missing.
//! Knows no caller: what a session or an event means is decided by the service.

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
mod store_url;
mod writability;

pub use error::StoreError;
pub use model::{
    AccountChange, AccountRow, AccountStore, AffinityClaim, AffinityId, AffinityKind, AffinityPage,
    AffinityRecord, AffinityState, AffinityStore, AffinityTarget, Attempts, Bounds, ClaimResult,
    Cursor, DeadLetter, EndCause, Event, EventKind, EventLog, InsertResult, InvalidCursor, LogId,
    MAX_CLAIM_TTL, MovedKey, OwnerId, PAYLOAD_VERSION, ProviderLink, RESERVED_CLAIMS, SessionQuery,
    SessionRemoval, SessionRow, SessionState, SessionStore, TabAffinity, session_id,
};
pub use writability::Writability;

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// State that the replicas on one store share: server keys, leases, replay protection and small texts.
#[async_trait]
pub trait Coordination: Send + Sync + 'static {
    /// Returns the server key `name`. If there is none yet, `candidate` becomes the key. All replicas get the
    /// same key.
    async fn server_key(&self, name: &str, candidate: [u8; 32]) -> Result<[u8; 32], StoreError>;

    /// Acquires or extends the lease `name` for `holder`, for `ttl` from now on by the store's clock; `false` while
    /// another holder has it. The work under a lease must stay correct when two replicas do it: a holder may be
    /// suspended for longer than its lease lasts.
    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool, StoreError>;

    /// Ends the lease if `holder` has it, so that another replica need not wait until it expires.
    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError>;

    /// Claims `key` until `until_ms`: `true` for the first caller, `false` while the claim lasts.
    async fn claim(&self, key: &str, now_ms: u64, until_ms: u64) -> Result<bool, StoreError>;

    /// Whether `key` is claimed. Does not claim it.
    async fn is_claimed(&self, key: &str, now_ms: u64) -> Result<bool, StoreError>;

    /// Removes the claims that have expired by the store's clock: the claims of all replicas must not depend on
    /// the clock of one.
    async fn purge_claims(&self) -> Result<(), StoreError>;

    /// Stores a text under `name`; `None` removes it. A name begins with the name of the feature that owns it.
    async fn put_value(&self, name: &str, text: Option<&str>) -> Result<(), StoreError>;

    /// Every stored text whose name begins with `prefix`, sorted by name.
    async fn list_values(&self, prefix: &str) -> Result<BTreeMap<String, String>, StoreError>;

    /// Commits a small change. Fails where the store does not accept writes, and where it is known to be damaged.
    async fn heartbeat(&self) -> Result<(), StoreError>;

    /// Whether the store answers. Says nothing about writes.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// The traits of one opened store.
#[derive(Clone)]
pub struct Stores {
    pub sessions: Arc<dyn SessionStore>,
    /// `None`: this store has no accounts.
    pub accounts: Option<Arc<dyn AccountStore>>,
    pub events: Arc<dyn EventLog>,
    pub coordination: Arc<dyn Coordination>,
    /// `None`: this store keeps no affinity records.
    pub affinity: Option<Arc<dyn AffinityStore>>,
    /// Whether writes succeed. Known only behind the circuit breaker.
    pub writability: Arc<Writability>,
}

impl Stores {
    /// For a store that implements every trait.
    #[must_use]
    pub fn from_single<S>(store: Arc<S>) -> Self
    where
        S: SessionStore + AccountStore + EventLog + Coordination + AffinityStore,
    {
        Self {
            sessions: store.clone(),
            accounts: Some(store.clone()),
            events: store.clone(),
            coordination: store.clone(),
            affinity: Some(store),
            writability: Arc::default(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's own steps may fail it")]
mod tests {
    use crate::{postgres, sqlite};
    use std::path::Path;

    #[test]
    fn every_migration_file_is_listed_with_its_version() {
        for (folder, migrator) in [
            ("sqlite", sqlite::migrations()),
            ("postgres", postgres::migrations()),
        ] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
            let mut files: Vec<String> = std::fs::read_dir(root.join(folder))
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();
            let listed = migrator.iter().map(|m| format!("{}.sql", m.description));
            assert_eq!(listed.collect::<Vec<_>>(), files);
            for migration in migrator.iter() {
                assert!(
                    migration
                        .description
                        .starts_with(&format!("{:04}_", migration.version))
                );
            }
        }
    }
}
