//! Buffers the latest activity of each session between writes to the store: recording costs a map entry, and a task
//! writes each session when it is due. Does not decide whether a session is active.

use crate::core::clock::Clock;
use crate::core::ticker::ticker;
use berth_store::session_id::IdHash;
use berth_store::{SessionStore, StoreError};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Maximum number of sessions written in one transaction.
const BATCH: usize = 500;
/// How often a flush at the end of the process is tried if the store fails.
const FLUSH_ATTEMPTS: u32 = 3;

/// Activity that has not been written to the store.
#[derive(Default)]
pub(super) struct ActivityBuffer {
    /// Contains only sessions that are cached or were found in the store. While the store is down, it therefore grows
    /// no larger than the cache.
    pending: Mutex<HashMap<IdHash, PendingWrite>>,
    /// Notified when a session must be written immediately.
    urgent: Notify,
}

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PendingWrite {
    seen_ms: u64,
    due_ms: u64,
}

/// The minimum time between two writes of a session, in milliseconds: a tenth of its idle timeout, at most 120 s.
pub(super) const fn write_interval_ms(idle_timeout_ms: u64) -> u64 {
    let tenth = idle_timeout_ms / 10;
    if tenth < 120_000 { tenth } else { 120_000 }
}

impl ActivityBuffer {
    /// Records activity; `due_ms` is when it must be in the store.
    pub(super) fn record(&self, id: IdHash, active_ms: u64, due_ms: u64) {
        let pending_write = PendingWrite {
            seen_ms: active_ms,
            due_ms,
        };
        let mut pending = self.lock();
        let pending_write = pending.entry(id).or_insert(pending_write);
        pending_write.seen_ms = active_ms.max(pending_write.seen_ms);
        pending_write.due_ms = due_ms.min(pending_write.due_ms);
        if due_ms <= active_ms {
            self.urgent.notify_one();
        }
    }

    /// The latest activity that may not be in the store yet.
    #[must_use]
    pub(super) fn latest(&self, id: &IdHash) -> Option<u64> {
        self.lock()
            .get(id)
            .map(|pending_write| pending_write.seen_ms)
    }

    /// Discards the activity of a session that has ended.
    pub(super) fn forget(&self, id: &IdHash) {
        self.lock().remove(id);
    }

    /// Writes what is due at that time. On failure, what was not written stays for the next call.
    pub(super) async fn write_due(
        &self,
        store: &dyn SessionStore,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let take_due = |(id, pending_write): (&IdHash, &PendingWrite)| {
            (pending_write.due_ms <= now_ms).then_some((*id, *pending_write))
        };
        let due_writes: Vec<_> = self.lock().iter().filter_map(take_due).collect();
        for batch in due_writes.chunks(BATCH) {
            let activity: Vec<_> = batch
                .iter()
                .map(|(id, pending_write)| (*id, pending_write.seen_ms))
                .collect();
            match store.touch(&activity).await {
                // The login service that owns the sessions tracks activity itself.
                Ok(()) | Err(StoreError::ReadOnly) => {}
                Err(error) => return Err(error),
            }
            let mut pending = self.lock();
            for (id, pending_write) in batch {
                if pending.get(id) == Some(pending_write) {
                    pending.remove(id);
                }
            }
        }
        Ok(())
    }

    /// Writes everything recorded so far. Retries, since a pooled connection may have ended with the thread that opened
    /// it, and the next attempt uses another one.
    pub(super) async fn flush(&self, store: &dyn SessionStore) {
        for _ in 0..FLUSH_ATTEMPTS {
            let Err(error) = self.write_due(store, u64::MAX).await else {
                return;
            };
            let sessions = self.lock().len();
            tracing::warn!(%error, sessions, "activity not written");
        }
    }

    /// Writes what is due, in a loop. `idle_timeout` is that of most sessions.
    pub(super) async fn run(
        self: Arc<Self>,
        store: Arc<dyn SessionStore>,
        clock: Arc<dyn Clock>,
        idle_timeout: Duration,
    ) {
        // Often enough that other replicas see activity in a session's last second before they take it for expired.
        let min_interval = Duration::from_millis(25);
        let mut ticks = ticker((idle_timeout / 40).clamp(min_interval, 40 * min_interval));
        let mut write_failed = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // After a failure, the next tick is the next attempt.
                () = self.urgent.notified(), if !write_failed => {}
            }
            match self.write_due(store.as_ref(), clock.now_ms()).await {
                Ok(()) => write_failed = false,
                Err(error) if write_failed => tracing::debug!(%error, "activity not written"),
                Err(error) => {
                    write_failed = true;
                    tracing::warn!(%error, "activity not written");
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IdHash, PendingWrite>> {
        self.pending.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use berth_store::conformance::{event, session_row};
    use berth_store::sqlite::SqliteStore;
    use berth_store::{Event, InsertResult, SessionQuery, SessionRemoval, SessionRow};

    /// Fails this many times, and stores nothing.
    struct FailingStore(Mutex<u32>);

    const NOTHING: StoreError = StoreError::ReadOnly;

    #[async_trait]
    impl SessionStore for FailingStore {
        async fn touch(&self, _: &[(IdHash, u64)]) -> Result<(), StoreError> {
            let mut failures = self.0.lock();
            let Some(failures_left) = failures.checked_sub(1) else {
                return Ok(());
            };
            *failures = failures_left;
            Err(StoreError::Down("the connection is gone".to_owned()))
        }
        async fn insert(
            &self,
            _: &SessionRow,
            _: Option<u32>,
            _: &Event,
        ) -> Result<InsertResult, StoreError> {
            Err(NOTHING)
        }
        async fn find(&self, _: &IdHash) -> Result<Option<SessionRow>, StoreError> {
            Err(NOTHING)
        }
        async fn find_by_ref(&self, _: &str) -> Result<Option<SessionRow>, StoreError> {
            Err(NOTHING)
        }
        async fn remove(&self, _: &[SessionRemoval]) -> Result<Vec<IdHash>, StoreError> {
            Err(NOTHING)
        }
        async fn list(&self, _: &SessionQuery, _: u32) -> Result<Vec<SessionRow>, StoreError> {
            Err(NOTHING)
        }
        async fn count_live(&self, _: u64) -> Result<u64, StoreError> {
            Err(NOTHING)
        }
    }

    #[tokio::test]
    async fn a_flush_is_retried() {
        for (failures, is_written) in [(0, true), (2, true), (3, false)] {
            let activity = ActivityBuffer::default();
            activity.record(IdHash([1; 32]), 5, 50);
            activity.flush(&FailingStore(Mutex::new(failures))).await;
            let pending_ms = activity.latest(&IdHash([1; 32]));
            assert_eq!(pending_ms.is_none(), is_written, "{failures}");
        }
    }

    async fn open_store(dir: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&dir.path().join("a.db")).await.unwrap()
    }

    #[test]
    fn the_write_interval_is_a_tenth_of_the_idle_timeout_and_at_most_120_s() {
        for (idle_s, interval_s) in [(300, 30), (1_800, 120), (36_000, 120)] {
            assert_eq!(write_interval_ms(idle_s * 1000), interval_s * 1000);
        }
    }

    #[tokio::test]
    async fn a_flush_writes_the_latest_activity_and_empties_the_buffer() {
        let dir = tempfile::tempdir().unwrap();
        let store = open_store(&dir).await;
        let row = session_row(1);
        store.insert(&row, None, &event(&row, None)).await.unwrap();
        let activity = ActivityBuffer::default();
        activity.record(row.id_hash, 9_000, 50_000);
        activity.record(row.id_hash, 8_000, 50_000);
        activity.record(IdHash([9; 32]), 8_000, 50_000);
        activity.flush(&store).await;
        let stored = store.find(&row.id_hash).await.unwrap().unwrap();
        assert_eq!(stored.last_seen_at_ms, 9_000);
        assert_eq!(store.find(&IdHash([9; 32])).await.unwrap(), None);
        assert_eq!(activity.latest(&row.id_hash), None);
    }

    #[tokio::test]
    async fn only_due_activity_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = open_store(&dir).await;
        let row = session_row(1);
        store.insert(&row, None, &event(&row, None)).await.unwrap();
        let activity = ActivityBuffer::default();
        activity.record(row.id_hash, 9_000, 50_000);
        activity.record(row.id_hash, 9_500, 60_000);
        activity.write_due(&store, 49_999).await.unwrap();
        assert_eq!(activity.latest(&row.id_hash), Some(9_500));
        activity.write_due(&store, 50_000).await.unwrap();
        assert_eq!(activity.latest(&row.id_hash), None);
        let stored = store.find(&row.id_hash).await.unwrap().unwrap();
        assert_eq!(stored.last_seen_at_ms, 9_500);
    }

    #[tokio::test]
    async fn activity_is_kept_while_the_store_fails() {
        let dir = tempfile::tempdir().unwrap();
        let store = open_store(&dir).await;
        store.close().await;
        let activity = ActivityBuffer::default();
        activity.record(IdHash([1; 32]), 5, 5);
        assert!(activity.write_due(&store, 5).await.is_err());
        assert_eq!(activity.latest(&IdHash([1; 32])), Some(5));
    }
}
