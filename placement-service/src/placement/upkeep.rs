//! The background task of keys: writes their activity to the store, and ends the counting of keys that have expired there.
//! And the end of keys for other reasons: they have moved, or their login session has ended.

use super::PlacementService;
use super::affinity_directory::{key_name, parse_key_name};
use super::key_table::KeyTable;
use super::keys::KeyDirectory;
use crate::core::affinity_key::CanonicalKey;
use crate::core::ticker::ticker;
use berth_store::StoreError;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

/// How often activity is written.
const INTERVAL: Duration = Duration::from_secs(1);
/// Expired keys are removed once in this number of intervals.
const SWEEP_INTERVALS: u32 = 10;
/// Maximum number of keys that are looked up in one interval, because they may have expired.
const LOOKUPS: usize = 200;
/// Maximum number of keys that are removed at once.
const SWEEP_BATCH: u32 = 1000;

/// The task. Dropping this ends it.
#[derive(Debug)]
pub(super) struct KeyUpkeep(AbortHandle);

impl Drop for KeyUpkeep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl KeyUpkeep {
    pub(super) fn start(keys: &Arc<KeyDirectory>, table: &Arc<KeyTable>) -> Self {
        let task = run(Arc::clone(keys), Arc::clone(table));
        Self(tokio::spawn(task).abort_handle())
    }
}

async fn run(keys: Arc<KeyDirectory>, table: Arc<KeyTable>) {
    let mut ticks = ticker(INTERVAL);
    let mut interval = 0_u32;
    let mut is_failing = false;
    loop {
        ticks.tick().await;
        interval = interval.wrapping_add(1);
        let flushed = keys.directory.flush_activity(Instant::now()).await;
        let swept = if interval.is_multiple_of(SWEEP_INTERVALS) {
            keys.directory.sweep(SWEEP_BATCH).await
        } else {
            Ok(0)
        };
        let ended = end_expired(&keys, &table).await;
        match flushed.and(ended).and(swept) {
            Ok(removed) => {
                is_failing = false;
                if removed > 0 {
                    debug!(removed, "keys without activity have lost their engines");
                }
            }
            Err(error) if is_failing => debug!(%error, "the activity of keys is not written"),
            Err(error) => {
                is_failing = true;
                warn!(%error, "the activity of keys is not written: it is kept");
            }
        }
    }
}

/// Ends the counting of keys that are not in the store any more.
async fn end_expired(keys: &KeyDirectory, table: &KeyTable) -> Result<(), StoreError> {
    for (id, epoch) in table.take_idle(LOOKUPS, Instant::now()) {
        let record = keys.directory.find(&id).await?;
        if record.is_none_or(|record| record.epoch != epoch) {
            let next = epoch.saturating_add(1);
            keys.directory.forget(id, next).await;
            table.remove(&id, next);
            debug!(
                key = key_name(&id),
                "a key without activity has lost its engine"
            );
        }
    }
    Ok(())
}

impl PlacementService {
    /// How often the streams of keys count as activity: several times in the shortest `affinity.idle`.
    #[must_use]
    pub fn key_activity_interval(&self) -> Duration {
        let shortest = self.routes.shortest_idle().unwrap_or(Duration::MAX);
        (shortest / 4).max(INTERVAL)
    }

    /// A key is active: a gateway says so, or it has a stream.
    pub fn record_key_activity(&self, key: &str) {
        if let (Some(keys), Some(id)) = (&self.keys, parse_key_name(key)) {
            let now = Instant::now();
            self.key_table.touch(&id, now);
            keys.directory.record_activity(id, now);
        }
    }

    /// A key has another engine, or none, since that epoch.
    pub async fn key_moved(&self, key: &str, epoch: u64) {
        if let (Some(keys), Some(id)) = (&self.keys, parse_key_name(key)) {
            keys.directory.forget(id, epoch).await;
            self.key_table.remove(&id, epoch);
        }
    }

    /// A login session has ended: so do the keys that belong to it alone.
    pub async fn end_login_keys(&self, session_ref: &str) {
        let Some(keys) = &self.keys else { return };
        for pool in self.routes.pools_with_session_keys() {
            let Ok(key) = CanonicalKey::from_session(pool, session_ref) else {
                continue;
            };
            let id = keys.ids.id(&key);
            let ended = match keys.directory.find(&id).await {
                Ok(Some(record)) => keys
                    .directory
                    .release(id, record.epoch, "session-ended")
                    .await
                    .map(drop),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                debug!(%error, "the key of a session that has ended expires by itself");
            }
        }
    }

    /// A plain request has not reached the engine: it gets no new sessions until a probe or a trial has succeeded.
    pub fn suspect_engine(&self, pool: &str, engine: &str) {
        let position = self.pools.iter().position(|own| *own.name == *pool);
        let engine = position.and_then(|pool| self.find_engine(pool, &engine.into()));
        let Some(engine) = engine else { return };
        let now = Instant::now();
        if engine.accounting.record_failure(now, now) {
            warn!(pool, engine = %engine.name, "engine ejected: a plain request has not reached it");
        }
        engine.probe_now.notify_one();
    }
}
