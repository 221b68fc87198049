//! Ends the engine sessions and keys of each login session that has ended: when the event log says so, or when the login
//! session has expired. Applies the moves of keys by other replicas. Does not decide when a session ends.

use super::Shared;
use crate::core::ticker::ticker;
use crate::events::follower::Change;
use crate::sessions::SessionStatus;
use berth_store::StoreError;
use std::sync::Arc;
use std::time::Duration;

/// Entries of the log that are read at once.
const BATCH: usize = 1000;
/// How often login sessions are checked that may have expired.
const INTERVAL: Duration = Duration::from_millis(500);

/// Follows the event log until the task is aborted.
pub(super) async fn follow(shared: Arc<Shared>) {
    let mut newest = shared.newest.clone();
    let mut position = shared.log_window.position();
    let mut ticks = ticker(INTERVAL);
    loop {
        tokio::select! {
            changed = newest.changed() => if changed.is_err() {
                return;
            },
            _ = ticks.tick() => shared.check_logins(shared.placement.due_logins()).await,
        }
        position = shared.end_logins_after(position).await;
    }
}

impl Shared {
    /// Ends the engine sessions of the login sessions that ended after a position. Returns the position reached.
    async fn end_logins_after(&self, mut position: u64) -> u64 {
        loop {
            let Some(since) = self.log_window.read_after(position, BATCH) else {
                // Entries are missing: any login session may have ended.
                position = self.log_window.position();
                self.check_logins(self.placement.logins_with_engine_sessions())
                    .await;
                continue;
            };
            for logged in &since.changes {
                match &logged.change {
                    Change::SessionEnded { session_ref, .. } => {
                        self.placement.end_login(session_ref);
                        self.placement.end_login_keys(session_ref).await;
                    }
                    Change::KeyMoved { key, epoch } => {
                        self.placement.key_moved(key, *epoch).await;
                    }
                }
            }
            if since.sequence == position || since.changes.is_empty() {
                return since.sequence;
            }
            position = since.sequence;
        }
    }

    /// Ends the engine sessions of those login sessions that have ended, and schedules the next check of the others.
    async fn check_logins(&self, logins: Vec<String>) {
        for session_ref in logins {
            let soon_s = self.clock.now_s() + 1;
            let next_s = match self.sessions.status(&session_ref).await {
                Ok(SessionStatus::ActiveUntil(ends_ms)) => ends_ms.div_ceil(1000).max(soon_s),
                Ok(SessionStatus::Ended(_)) => {
                    self.placement.end_login(&session_ref);
                    continue;
                }
                // With a read-only store, another login service owns the sessions.
                Ok(SessionStatus::NotASession) | Err(StoreError::ReadOnly) => continue,
                // An expired session is queued by the check, and ends soon.
                Ok(SessionStatus::Expired) | Err(_) => soon_s,
            };
            self.placement.check_login_at(&session_ref, next_s);
        }
    }
}
