//! The number of streams of each login session, or of each program account, in each pool, with those through other
//! replicas. A stream counts from the start of its placement until the engine's accounting removes it. Knows no engine
//! and no gateway, and never waits.

mod pool;

use parking_lot::{Mutex, MutexGuard};
pub use pool::{PoolStreams, StreamLimits, StreamSlot};
use std::collections::HashMap;
use std::sync::Arc;

/// A count to send to the other replicas, in exchange for theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedCount {
    pool: Arc<str>,
    holder: Arc<str>,
    /// Streams that this replica counts.
    pub own: u32,
}

impl ChangedCount {
    /// The holder's name over all pools. A pool's name has no slash in it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.pool, self.holder)
    }
}

/// The counts of all pools: those that are configured, and those of streams that gateways report.
#[derive(Debug, Default)]
pub struct StreamCounts(Mutex<HashMap<Arc<str>, Arc<PoolStreams>>>);

impl StreamCounts {
    /// The counts of one pool.
    #[must_use]
    pub fn pool(&self, name: &Arc<str>) -> Arc<PoolStreams> {
        let mut pools = self.pools();
        Arc::clone(pools.entry(Arc::clone(name)).or_default())
    }

    /// Removes pools that nothing uses.
    pub(super) fn remove_unused(&self) {
        self.pools()
            .retain(|_, streams| Arc::strong_count(streams) > 1);
    }

    /// Starts to list changes for the other replicas, beginning with all counts.
    pub fn start_exchange(&self) {
        for streams in self.pools().values() {
            streams.start_exchange();
        }
    }

    /// The ledger is not available: from now on only the counts of this replica limit a session.
    pub fn stop_exchange(&self) {
        for streams in self.pools().values() {
            streams.stop_exchange();
        }
    }

    /// Counts that have changed, and those of holders at their limit because of other replicas.
    #[must_use]
    pub fn take_changed(&self) -> Vec<ChangedCount> {
        let mut changed = Vec::new();
        for (pool, streams) in self.pools().iter() {
            let counts = streams.take_changed().into_iter();
            changed.extend(counts.map(|(holder, own_count)| ChangedCount {
                pool: Arc::clone(pool),
                holder,
                own: own_count,
            }));
        }
        changed
    }

    /// Sets the streams of these holders through other replicas.
    pub fn set_remote(&self, counts: impl IntoIterator<Item = (ChangedCount, u32)>) {
        let pools = self.pools();
        for (count, remote) in counts {
            if let Some(streams) = pools.get(&count.pool) {
                streams.set_remote(&count.holder, remote);
            }
        }
    }

    fn pools(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<PoolStreams>>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests;
