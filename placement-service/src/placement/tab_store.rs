//! The engine sessions of tabs in the store, so that a tab returns to its engine session after a restart and through any
//! replica. Written behind: what was created in the last second may be lost. A record is of no use after the end of its
//! login session, and expires by itself. Knows neither engines nor drivers.

use super::affinity::{AffinityEntry, AffinityKey};
use super::affinity_directory::AffinityKeys;
use berth_scheduler::accounting::EngineSession;
use berth_scheduler::engine::EngineName;
use berth_store::{
    AffinityId, AffinityState, AffinityStore, AffinityTarget, OwnerId, StoreError, TabAffinity,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

/// Maximum number of tabs that wait to be written: the store may not answer. Further ones are only in memory.
const MAX_WAITING: usize = 100_000;
/// Tabs in one call of the store.
const BATCH: usize = 500;
/// Maximum time that a placement waits for the store.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(500);

/// The tabs in the store.
pub(super) struct TabStore {
    store: Arc<dyn AffinityStore>,
    ids: AffinityKeys,
    /// How long a tab is kept without a new engine session.
    idle: Duration,
    waiting: Mutex<HashMap<AffinityId, WaitingTab>>,
}

/// A tab that is not written yet.
struct WaitingTab {
    owner: OwnerId,
    pool: String,
    target: AffinityTarget,
    since: Instant,
}

impl TabStore {
    pub(super) fn new(store: Arc<dyn AffinityStore>, ids: AffinityKeys, idle: Duration) -> Self {
        Self {
            store,
            ids,
            idle,
            waiting: Mutex::default(),
        }
    }

    /// Writes the engine session of a tab with the next flush.
    pub(super) fn put(
        &self,
        key: AffinityKey,
        session_ref: &str,
        pool: &str,
        entry: &AffinityEntry,
    ) {
        let id = self.ids.tab_id(key.as_bytes());
        let tab = WaitingTab {
            owner: self.ids.tab_owner(session_ref),
            pool: pool.to_owned(),
            target: AffinityTarget {
                engine: entry.engine.to_string(),
                api: entry.address,
                stream: None,
                incarnation: entry.incarnation.as_deref().map(str::to_owned),
                headers: entry.headers.clone(),
            },
            since: Instant::now(),
        };
        let mut waiting = self.waiting.lock();
        if waiting.len() < MAX_WAITING || waiting.contains_key(&id) {
            waiting.insert(id, tab);
        }
    }

    /// The engine session of a tab that this replica does not know. `None` also while the store does not answer.
    pub(super) async fn find(&self, key: AffinityKey, deadline: Instant) -> Option<AffinityEntry> {
        let id = self.ids.tab_id(key.as_bytes());
        let deadline = deadline.min(Instant::now() + LOOKUP_TIMEOUT);
        let found = timeout_at(deadline, self.store.find_affinity(&id))
            .await
            .ok()?;
        let found = found
            .inspect_err(|error| debug!(%error, "the engine session of a tab is not looked up"))
            .ok()?;
        let AffinityState::Held(target) = found?.state else {
            return None;
        };
        Some(AffinityEntry {
            engine: EngineName::from(target.engine.as_str()),
            address: target.api,
            incarnation: target.incarnation.map(Arc::from),
            headers: target.headers,
            session: EngineSession::unknown(),
        })
    }

    /// Writes what waits. Keeps what could not be written.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn flush(&self) -> Result<(), StoreError> {
        let waiting: Vec<_> = std::mem::take(&mut *self.waiting.lock())
            .into_iter()
            .collect();
        let now = Instant::now();
        let tabs = waiting.iter().map(|(id, tab)| TabAffinity {
            id: *id,
            owner: tab.owner,
            pool: tab.pool.clone(),
            target: tab.target.clone(),
            idle_for: now.saturating_duration_since(tab.since),
            idle: self.idle,
        });
        let tabs: Vec<TabAffinity> = tabs.collect();
        for batch in tabs.chunks(BATCH) {
            if let Err(error) = self.store.put_tab_affinity(batch).await {
                let mut newer = self.waiting.lock();
                for (id, tab) in waiting {
                    newer.entry(id).or_insert(tab);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}
