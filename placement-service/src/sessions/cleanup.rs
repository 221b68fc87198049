//! Background removal of sessions: expired ones, by one replica at a time under a lease, and child sessions whose
//! parent is gone. Decides when a session may be removed; how it ends is decided in `ending`.

use super::activity::write_interval_ms;
use super::{Sessions, expiry};
use crate::config::Config;
use crate::core::metrics::CleanupResult;
use crate::core::ticker::ticker;
use berth_store::{EndCause, SessionQuery, SessionRow, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Interval;
use uuid::Uuid;

const LEASE: &str = "cleanup";
/// Maximum grace period: an expired session is not removed before it has passed. Another replica may be about to
/// write later activity, which it does immediately for a session near its expiry.
const GRACE_MS: u64 = 500;

/// The tasks that remove expired sessions, end orphaned child sessions, and process the expiry queue.
pub struct CleanupTasks {
    tasks: [AbortHandle; 3],
    expiry: Arc<ExpiryCleanup>,
}

impl CleanupTasks {
    /// Starts the tasks. They run until [`Self::stop`] or drop.
    #[must_use]
    pub fn start(sessions: &Arc<Sessions>, config: &Config) -> Self {
        let expiry = Arc::new(ExpiryCleanup::new(sessions, config));
        let removing = expiry.clone().run(ticker(config.session.cleanup.interval));
        let reconciling = run_reconcile(sessions.clone(), ticker(config.session.reconcile));
        let tasks = [
            tokio::spawn(removing).abort_handle(),
            tokio::spawn(reconciling).abort_handle(),
            tokio::spawn(expiry::run_expiry_queue(sessions.clone())).abort_handle(),
        ];
        Self { tasks, expiry }
    }

    /// Aborts the tasks at their next await point, and releases the lease, so that another replica goes on at once.
    pub async fn stop(&self) {
        self.abort();
        self.expiry.release().await;
    }

    fn abort(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Drop for CleanupTasks {
    fn drop(&mut self) {
        self.abort();
    }
}

struct ExpiryCleanup {
    sessions: Arc<Sessions>,
    /// Identifies this process as the holder of the lease.
    holder: String,
    lease: Duration,
    batch: u32,
    keep_events: u64,
}

impl ExpiryCleanup {
    fn new(sessions: &Arc<Sessions>, config: &Config) -> Self {
        let interval = config.session.cleanup.interval;
        Self {
            sessions: sessions.clone(),
            holder: Uuid::new_v4().to_string(),
            // Longer than the interval, so that the holder renews it before it expires.
            lease: interval * 3 / 2,
            batch: config.session.cleanup.batch,
            keep_events: config.events.retention.into(),
        }
    }

    async fn run(self: Arc<Self>, mut ticks: Interval) {
        loop {
            ticks.tick().await;
            let result = match self.remove_expired().await {
                Ok(true) => CleanupResult::Ok,
                Ok(false) => CleanupResult::NotLeader,
                Err(error) => {
                    tracing::warn!(%error, "removing expired sessions failed");
                    // Another replica may succeed.
                    self.release().await;
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
            let shared = &sessions.stores.coordination;
            if !shared.lease(LEASE, &self.holder, self.lease).await? {
                return Ok(false);
            }
            let query = SessionQuery::ExpiredAt(sessions.expiry_cutoff_ms());
            let rows = store.list(&query, self.batch).await?;
            let listed = rows.len();
            let ended_count = sessions.end_expired_rows(rows).await?;
            // If none of a full batch ended, all of them were active again: the same batch would be listed forever.
            if listed < self.batch as usize || ended_count == 0 {
                break;
            }
        }
        sessions.stores.events.trim_events(self.keep_events).await?;
        sessions.stores.coordination.purge_claims().await?;
        Ok(true)
    }

    async fn release(&self) {
        let shared = &self.sessions.stores.coordination;
        if let Err(error) = shared.release_lease(LEASE, &self.holder).await {
            tracing::debug!(%error, "a lease was not released");
        }
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
        let ended_count = self
            .end_selected(&SessionQuery::Orphans, EndCause::ParentEnded)
            .await?;
        if ended_count > 0 {
            tracing::info!(ended_count, "ended child sessions without a parent");
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
