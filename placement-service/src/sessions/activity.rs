//! When each session was last active, between two writes to the store: activity costs a map entry,
//! and a task writes the latest of each session now and then (S5).

use crate::session_id::IdHash;
use crate::store::SessionStore;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Sessions written in one transaction.
const BATCH: usize = 500;

/// Activity that the store does not know yet: session -> milliseconds since the Unix epoch.
#[derive(Default)]
pub(super) struct Activity {
    unwritten: Mutex<HashMap<IdHash, u64>>,
}

impl Activity {
    /// At most one write per session in this time: 120 s or a tenth of the idle timeout.
    #[must_use]
    pub(super) fn interval(idle_timeout: Duration) -> Duration {
        (idle_timeout / 10).clamp(Duration::from_millis(100), Duration::from_secs(120))
    }

    /// Notes that the session was active.
    pub(super) fn note(&self, id: IdHash, now_ms: u64) {
        let mut unwritten = self.lock();
        let seen = unwritten.entry(id).or_insert(now_ms);
        *seen = now_ms.max(*seen);
    }

    /// Activity that the store may not know yet.
    #[must_use]
    pub(super) fn latest(&self, id: &IdHash) -> Option<u64> {
        self.lock().get(id).copied()
    }

    /// Drops what was noted of a session that has ended.
    pub(super) fn forget(&self, id: &IdHash) {
        self.lock().remove(id);
    }

    /// Writes everything noted so far. What the store does not take is kept for the next time.
    pub(super) async fn flush(&self, store: &dyn SessionStore) {
        let all: Vec<_> = self.lock().iter().map(|(id, at)| (*id, *at)).collect();
        for batch in all.chunks(BATCH) {
            if let Err(error) = store.touch(batch).await {
                tracing::warn!(%error, sessions = all.len(), "activity not written");
                return;
            }
            let mut unwritten = self.lock();
            for (id, at) in batch {
                if unwritten.get(id) == Some(at) {
                    unwritten.remove(id);
                }
            }
        }
    }

    /// Flushes for ever, once per interval.
    pub(super) async fn run(self: Arc<Self>, store: Arc<dyn SessionStore>, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.flush(store.as_ref()).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdHash, u64>> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{event, session_row};
    use crate::store::sqlite::SqliteStore;

    #[test]
    fn the_interval_is_the_lesser_of_both_rules() {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        assert_eq!(Activity::interval(minutes(5)), Duration::from_secs(30));
        assert_eq!(Activity::interval(minutes(30)), Duration::from_secs(120));
        assert_eq!(Activity::interval(minutes(600)), Duration::from_secs(120));
    }

    #[tokio::test]
    async fn a_flush_writes_the_latest_and_empties_the_map() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a.db")).await.unwrap();
        let row = session_row(1);
        store.insert(&row, None, &event(&row, None)).await.unwrap();
        let activity = Activity::default();
        activity.note(row.id_hash, 9_000);
        activity.note(row.id_hash, 8_000);
        activity.note(IdHash([9; 32]), 8_000);
        activity.flush(&store).await;
        let kept = store.find(&row.id_hash).await.unwrap().unwrap();
        assert_eq!(kept.last_seen_at_ms, 9_000);
        assert_eq!(store.find(&IdHash([9; 32])).await.unwrap(), None);
        assert_eq!(activity.latest(&row.id_hash), None);
    }

    #[tokio::test]
    async fn what_the_store_does_not_take_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a.db")).await.unwrap();
        store.close().await;
        let activity = Activity::default();
        activity.note(IdHash([1; 32]), 5);
        activity.flush(&store).await;
        assert_eq!(activity.latest(&IdHash([1; 32])), Some(5));
    }
}
