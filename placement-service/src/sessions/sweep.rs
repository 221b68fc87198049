//! What nobody asks for ends too: sessions that have run out of time, by one replica at a time (S11), and
//! those that are left of a family whose head was lost (S31).

use super::activity::write_interval_ms;
use super::{Sessions, overdue};
use crate::config::Config;
use crate::core::metrics::SweepResult;
use berth_store::{EndCause, Select, SessionRow, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Interval, MissedTickBehavior};
use uuid::Uuid;

const LEASE: &str = "sweep";
/// Beyond its end a session is left alone for this time at the most: another replica may be about to
/// write that it was active, which it does at once for a session near its end.
const GRACE_MS: u64 = 500;

/// The tasks that sweep, reconcile, and end what somebody found to be over.
pub struct Sweep([AbortHandle; 3]);

impl Sweep {
    /// From here on, until it is stopped or dropped.
    #[must_use]
    pub fn start(sessions: &Arc<Sessions>, config: &Config) -> Self {
        let sweeper = Sweeper::new(sessions, config);
        let sweeping = sweeper.sweep_for_ever(ticks(config.session.sweep.interval));
        let reconciling = reconcile_for_ever(sessions.clone(), ticks(config.session.reconcile));
        Self([
            tokio::spawn(sweeping).abort_handle(),
            tokio::spawn(reconciling).abort_handle(),
            tokio::spawn(overdue::end_for_ever(sessions.clone())).abort_handle(),
        ])
    }

    /// No further step is begun.
    pub fn stop(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.stop();
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

struct Sweeper {
    sessions: Arc<Sessions>,
    /// Names this process in the lease.
    holder: String,
    lease_ms: u64,
    batch: u32,
    keep_events: u64,
}

impl Sweeper {
    fn new(sessions: &Arc<Sessions>, config: &Config) -> Self {
        let interval = config.session.sweep.interval;
        Self {
            sessions: sessions.clone(),
            holder: Uuid::new_v4().to_string(),
            // The holder comes back before the lease lapses.
            lease_ms: super::millis(interval * 3 / 2),
            batch: config.session.sweep.batch,
            keep_events: config.events.retention.into(),
        }
    }

    async fn sweep_for_ever(self, mut ticks: Interval) {
        loop {
            ticks.tick().await;
            let result = match self.sweep().await {
                Ok(true) => SweepResult::Ok,
                Ok(false) => SweepResult::NotLeader,
                Err(error) => {
                    tracing::warn!(%error, "the sweep of sessions was not finished");
                    // Perhaps another replica can.
                    let _ = self.lease(0).await;
                    SweepResult::Failed
                }
            };
            self.sessions.metrics.sweep(result);
        }
    }

    /// `false` when another replica does it.
    async fn sweep(&self) -> Result<bool, StoreError> {
        let sessions = &self.sessions;
        let store = sessions.stores.sessions.as_ref();
        loop {
            if !self.lease(self.lease_ms).await? {
                return Ok(false);
            }
            let over = Select::OverAt(sessions.surely_over_ms());
            let rows = store.list(&over, self.batch).await?;
            let listed = rows.len();
            let ended = sessions.expire(rows).await?;
            // None of a full batch: all of them were active meanwhile.
            if listed < self.batch as usize || ended == 0 {
                break;
            }
        }
        sessions.stores.events.trim_events(self.keep_events).await?;
        let now_ms = sessions.clock.now_ms();
        sessions.stores.shared.forget_once(now_ms).await?;
        Ok(true)
    }

    async fn lease(&self, ttl_ms: u64) -> Result<bool, StoreError> {
        let now_ms = self.sessions.clock.now_ms();
        let shared = &self.sessions.stores.shared;
        shared.lease(LEASE, &self.holder, now_ms, ttl_ms).await
    }
}

/// In every replica: what has ended, has ended once, whoever looks.
async fn reconcile_for_ever(sessions: Arc<Sessions>, mut ticks: Interval) {
    loop {
        ticks.tick().await;
        if let Err(error) = sessions.reconcile().await {
            tracing::warn!(%error, "families were not looked at");
        }
    }
}

impl Sessions {
    /// Who was not active after this is over, on whichever replica.
    pub(super) fn surely_over_ms(&self) -> u64 {
        let grace_ms = write_interval_ms(self.idle_timeout_ms).min(GRACE_MS);
        self.clock.now_ms().saturating_sub(grace_ms)
    }

    /// Ends those that have still run out of time; how many.
    pub(super) async fn expire(&self, rows: Vec<SessionRow>) -> Result<u64, StoreError> {
        let (idle, absolute): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|row| row.ends_at_ms() < row.absolute_expiry_ms);
        let idle = self.end_rows(idle, EndCause::IdleTimeout, None).await?;
        let absolute = self
            .end_rows(absolute, EndCause::AbsoluteTimeout, None)
            .await?;
        Ok(idle + absolute)
    }

    /// Ends sessions whose parent is gone, and counts those that live.
    async fn reconcile(&self) -> Result<(), StoreError> {
        let ended = self
            .end_all(&Select::Orphans, EndCause::ParentEnded)
            .await?;
        if ended > 0 {
            tracing::info!(ended, "sessions had lost their parent");
        }
        let now_ms = self.clock.now_ms();
        match self.stores.sessions.count_live(now_ms).await {
            Ok(live) => self.metrics.sessions_active(live),
            // They are somebody else's, and cannot be counted.
            Err(StoreError::ReadOnly) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
