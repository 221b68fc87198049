//! Background removal of sessions: expired ones, by one replica at a time under a lease, and child sessions whose
//! parent is gone. Decides when a session may be removed; how it ends is decided in `ending`.

use super::activity::write_interval_ms;
use super::{Sessions, expiry};
use crate::config::Config;
use crate::core::metrics::CleanupResult;
use crate::core::ticker::ticker;
use berth_store::{EndCause, SessionQuery, SessionRow, StoreError};
use std::sync::Arc;
use tokio::task::AbortHandle;
use tokio::time::Interval;
use uuid::Uuid;

const LEASE: &str = "sweep";
/// Maximum grace period: an expired session is not removed before it has passed. Another replica may be about to
/// write later activity, which it does immediately for a session near its expiry.
const GRACE_MS: u64 = 500;

/// The tasks that remove expired sessions, end orphaned child sessions, and process the expiry queue.
pub struct CleanupTasks([AbortHandle; 3]);

impl CleanupTasks {
    /// Starts the tasks. They run until [`Self::stop`] or drop.
    #[must_use]
    pub fn start(sessions: &Arc<Sessions>, config: &Config) -> Self {
        let sweeper = ExpiryCleanup::new(sessions, config);
        let sweeping = sweeper.run(ticker(config.session.sweep.interval));
        let reconciling = run_reconcile(sessions.clone(), ticker(config.session.reconcile));
        Self([
            tokio::spawn(sweeping).abort_handle(),
            tokio::spawn(reconciling).abort_handle(),
            tokio::spawn(expiry::run_expiry_queue(sessions.clone())).abort_handle(),
        ])
    }

    /// Aborts the tasks at their next await point.
    pub fn stop(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Drop for CleanupTasks {
    fn drop(&mut self) {
        self.stop();
    }
}

struct ExpiryCleanup {
    sessions: Arc<Sessions>,
    /// Identifies this process as the holder of the lease.
    holder: String,
    lease_ms: u64,
    batch: u32,
    keep_events: u64,
}

impl ExpiryCleanup {
    fn new(sessions: &Arc<Sessions>, config: &Config) -> Self {
        let interval = config.session.sweep.interval;
        Self {
            sessions: sessions.clone(),
            holder: Uuid::new_v4().to_string(),
            // Longer than the interval, so that the holder renews it before it expires.
            lease_ms: super::millis(interval * 3 / 2),
            batch: config.session.sweep.batch,
            keep_events: config.events.retention.into(),
        }
    }

    async fn run(self, mut ticks: Interval) {
        loop {
            ticks.tick().await;
            let result = match self.remove_expired().await {
                Ok(true) => CleanupResult::Ok,
                Ok(false) => CleanupResult::NotLeader,
                Err(error) => {
                    tracing::warn!(%error, "removing expired sessions failed");
                    // Releases the lease: another replica may succeed.
                    let _ = self.lease(0).await;
                    CleanupResult::Failed
                }
            };
            self.sessions.metrics.count_cleanup(result);
        }
    }

    /// Removes all expired sessions, old events and used claims; `false` if another replica holds the lease.
    async fn remove_expired(&self) -> Result<bool, StoreError> {
        let sessions = &self.sessions;
        let store = sessions.stores.sessions.as_ref();
        loop {
            if !self.lease(self.lease_ms).await? {
                return Ok(false);
            }
            let over = SessionQuery::ExpiredAt(sessions.expiry_cutoff_ms());
            let rows = store.list(&over, self.batch).await?;
            let listed = rows.len();
            let ended = sessions.end_expired_rows(rows).await?;
            // If none of a full batch ended, all of them were active again: the same batch would be listed forever.
            if listed < self.batch as usize || ended == 0 {
                break;
            }
        }
        sessions.stores.events.trim_events(self.keep_events).await?;
        let now_ms = sessions.clock.now_ms();
        sessions.stores.coordination.purge_claims(now_ms).await?;
        Ok(true)
    }

    async fn lease(&self, ttl_ms: u64) -> Result<bool, StoreError> {
        let now_ms = self.sessions.clock.now_ms();
        let shared = &self.sessions.stores.coordination;
        shared.lease(LEASE, &self.holder, now_ms, ttl_ms).await
    }
}

/// Runs in every replica: the store removes a session once, so only one replica ends it.
async fn run_reconcile(sessions: Arc<Sessions>, mut ticks: Interval) {
    loop {
        ticks.tick().await;
        if let Err(error) = sessions.reconcile().await {
            tracing::warn!(%error, "ending orphaned child sessions failed");
        }
    }
}

impl Sessions {
    /// A session whose expiry is before this time has expired on every replica, in milliseconds since the Unix epoch.
    pub(super) fn expiry_cutoff_ms(&self) -> u64 {
        let grace_ms = write_interval_ms(self.idle_timeout_ms).min(GRACE_MS);
        self.clock.now_ms().saturating_sub(grace_ms)
    }

    /// Ends those rows that are still expired, and returns how many.
    pub(super) async fn end_expired_rows(&self, rows: Vec<SessionRow>) -> Result<u64, StoreError> {
        let (idle, absolute): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|row| row.ends_at_ms() < row.absolute_expiry_ms);
        let idle = self.end_rows(idle, EndCause::IdleTimeout, None).await?;
        let absolute = self
            .end_rows(absolute, EndCause::AbsoluteTimeout, None)
            .await?;
        Ok(idle + absolute)
    }

    /// Ends child sessions whose parent is gone, and counts active sessions.
    async fn reconcile(&self) -> Result<(), StoreError> {
        let ended = self
            .end_selected(&SessionQuery::Orphans, EndCause::ParentEnded)
            .await?;
        if ended > 0 {
            tracing::info!(ended, "ended child sessions without a parent");
        }
        let now_ms = self.clock.now_ms();
        match self.stores.sessions.count_live(now_ms).await {
            Ok(live) => self.metrics.set_active_sessions(live),
            // Another login service owns the sessions, and they cannot be counted.
            Err(StoreError::ReadOnly) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
