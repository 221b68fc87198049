//! Whether the store accepts writes. A store that answers reads may refuse them: its disk is full, its file is
//! damaged, or the server has become a read-only replica. Decided by the latest heartbeat, and by every real write
//! that fails: a heartbeat can succeed where a larger write does not.

use crate::Coordination;
use parking_lot::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// Interval of the heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// How long a failed write counts when heartbeats succeed. Longer than metrics are usually scraped, so that a fault
/// of some writes only is seen.
const FAILURE_RETENTION: Duration = Duration::from_secs(60);

/// The result of the latest writes.
#[derive(Debug, Default)]
pub struct Writability(Mutex<LatestWrites>);

#[derive(Debug, Default)]
struct LatestWrites {
    heartbeat_failed: bool,
    /// When another write failed last.
    failed: Option<Instant>,
}

impl Writability {
    /// Whether the last heartbeat succeeded and no write has failed within the last minute.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        let latest = self.lock();
        let failed = latest.failed;
        !latest.heartbeat_failed && failed.is_none_or(|at| at.elapsed() >= FAILURE_RETENTION)
    }

    /// Sends heartbeats and calls `report` with the state after each. Never returns.
    pub async fn watch(&self, store: &dyn Coordination, report: impl Fn(bool) + Send) {
        loop {
            // The circuit breaker logs the failure.
            let failed = store.heartbeat().await.is_err();
            self.lock().heartbeat_failed = failed;
            report(self.is_writable());
            tokio::time::sleep(HEARTBEAT_INTERVAL).await;
        }
    }

    pub(crate) fn record_failed_write(&self) {
        self.lock().failed = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, LatestWrites> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_write_counts_for_a_minute_and_a_failed_heartbeat_until_one_succeeds() {
        let writability = Writability::default();
        assert!(writability.is_writable());
        writability.record_failed_write();
        assert!(!writability.is_writable());
        tokio::time::advance(FAILURE_RETENTION - Duration::from_millis(1)).await;
        assert!(!writability.is_writable());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(writability.is_writable());
        writability.lock().heartbeat_failed = true;
        tokio::time::advance(2 * FAILURE_RETENTION).await;
        assert!(!writability.is_writable());
    }
}
