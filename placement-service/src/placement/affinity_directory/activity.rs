//! The latest activity of keys, collected in memory and written to the store in batches: a write for each request would
//! cost more than the request.

use berth_store::{AffinityId, AffinityStore, StoreError};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of keys: gateways name them, and the store may not answer. The activity of further keys is lost.
const MAX_KEYS: usize = 200_000;
/// Keys in one call of the store.
const BATCH: usize = 500;

/// When keys were last active, since the last flush.
#[derive(Debug, Default)]
pub(super) struct ActivityLog(Mutex<HashMap<AffinityId, Instant>>);

impl ActivityLog {
    /// Keeps the latest time.
    pub(super) fn record(&self, id: AffinityId, at: Instant) {
        let mut active = self.0.lock();
        if active.len() >= MAX_KEYS && !active.contains_key(&id) {
            return;
        }
        let latest = active.entry(id).or_insert(at);
        *latest = at.max(*latest);
    }

    /// Writes everything to the store, as times before `now`. Keeps what could not be written.
    pub(super) async fn flush(
        &self,
        store: &dyn AffinityStore,
        now: Instant,
    ) -> Result<(), StoreError> {
        let active: Vec<_> = std::mem::take(&mut *self.0.lock()).into_iter().collect();
        for (written, batch) in active.chunks(BATCH).enumerate() {
            let ages: Vec<(AffinityId, Duration)> = batch
                .iter()
                .map(|(id, at)| (*id, now.saturating_duration_since(*at)))
                .collect();
            if let Err(error) = store.touch_affinity(&ages).await {
                for (id, at) in active.iter().skip(written * BATCH) {
                    self.record(*id, *at);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}
