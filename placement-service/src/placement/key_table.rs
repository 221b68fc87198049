//! The keys that count on engines through this replica: each from the moment in which a request of it was placed here
//! until it is released, has moved, or has expired in the store. Finds no engine.

use super::keys::RequestKey;
use crate::config::AffinityCount;
use berth_scheduler::accounting::{HeldKey, KeyCount, Reservation};
use berth_scheduler::engine::Engine;
use berth_store::AffinityId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of keys, about 300 bytes each. Streams of further keys count by themselves.
const MAX_KEYS: usize = 200_000;

/// The keys by their ids.
#[derive(Debug, Default)]
pub(super) struct KeyTable(Mutex<HashMap<AffinityId, LocalKey>>);

#[derive(Debug)]
struct LocalKey {
    epoch: u64,
    held: HeldKey,
    idle: Duration,
    /// The latest request, or when the store was last looked up.
    active_at: Instant,
}

/// A key that counts here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyUse {
    pub(super) epoch: u64,
    /// Streams through this replica, open or expected.
    pub(super) streams: u32,
}

impl KeyTable {
    /// The key counts on this engine. `reservation`: that of its preparation.
    pub(super) fn hold(
        &self,
        key: &RequestKey<'_>,
        epoch: u64,
        engine: &Arc<Engine>,
        reservation: Option<Reservation>,
        now: Instant,
    ) {
        let mut keys = self.0.lock();
        if let Some(known) = keys.get_mut(&key.id) {
            if known.epoch > epoch {
                return;
            }
            if known.epoch == epoch && known.held.is_in(&engine.accounting) {
                known.active_at = now;
                return;
            }
            // It has moved. Ends the counting on the other engine before it begins here.
            keys.remove(&key.id);
        }
        if keys.len() >= MAX_KEYS {
            return;
        }
        let counts = match key.settings.effective_counts() {
            AffinityCount::Key => KeyCount::Key,
            AffinityCount::Streams => KeyCount::Streams,
        };
        let held = engine
            .accounting
            .hold_key(&key.name, counts, reservation, now);
        let local = LocalKey {
            epoch,
            held,
            idle: key.settings.idle,
            active_at: now,
        };
        keys.insert(key.id, local);
    }

    /// A reservation for one more stream of the key; `None`: it does not count here.
    ///
    /// # Errors
    /// The limit, if the key has so many streams.
    pub(super) fn join(
        &self,
        id: &AffinityId,
        limit: Option<u32>,
        now: Instant,
    ) -> Result<Option<Reservation>, u32> {
        let keys = self.0.lock();
        let Some(key) = keys.get(id) else {
            return Ok(None);
        };
        match limit {
            Some(limit) if key.held.streams(now) >= limit => Err(limit),
            _ => Ok(Some(key.held.join(now))),
        }
    }

    /// What is known of a key.
    pub(super) fn get(&self, id: &AffinityId, now: Instant) -> Option<KeyUse> {
        let keys = self.0.lock();
        let key = keys.get(id)?;
        Some(KeyUse {
            epoch: key.epoch,
            streams: key.held.streams(now),
        })
    }

    /// The key has another engine, or none, since that epoch.
    pub(super) fn remove(&self, id: &AffinityId, epoch: u64) {
        let mut keys = self.0.lock();
        if keys.get(id).is_some_and(|key| key.epoch < epoch) {
            keys.remove(id);
        }
    }

    /// The key is active.
    pub(super) fn touch(&self, id: &AffinityId, now: Instant) {
        if let Some(key) = self.0.lock().get_mut(id) {
            key.active_at = now;
        }
    }

    /// Keys that may have expired in the store, at most `limit`, with their epochs. They are not listed again before
    /// their time without activity has passed once more.
    pub(super) fn take_idle(&self, limit: usize, now: Instant) -> Vec<(AffinityId, u64)> {
        let mut keys = self.0.lock();
        let idle = keys.iter_mut().filter(|(_, key)| {
            now.saturating_duration_since(key.active_at) >= key.idle && key.held.streams(now) == 0
        });
        let listed = idle.take(limit).map(|(id, key)| {
            key.active_at = now;
            (*id, key.epoch)
        });
        listed.collect()
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}
