//! Follows the event log of the store: applies session ends from other replicas to this process, and wakes the tasks
//! that wait for events. Decides when the log counts as unavailable or rolled back. Must not know who reads.

mod log_window;

use crate::core::ticker::ticker;
use crate::sessions::Sessions;
use crate::sessions::tokens::Tokens;
use berth_store::{EventLog, StoreError};
pub use log_window::{Change, ChangesSince, LogWindow, LoggedChange};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Maximum number of entries read from the store at once.
const BATCH: u32 = 500;

/// Interval of the check whether the log has lost entries that were already read.
const ROLLBACK_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// After this long without an answer from the event log, it counts as unavailable and long polls fail with
/// `store-down`.
const LOG_UNAVAILABLE_AFTER: Duration = Duration::from_secs(3);

/// Handle of the task that follows the log; dropping it stops the task.
pub struct EventLogFollower {
    newest: watch::Receiver<u64>,
    log_window: Arc<LogWindow>,
    log_unavailable: watch::Receiver<bool>,
    task: AbortHandle,
}

struct FollowerTask {
    sessions: Arc<Sessions>,
    tokens: Arc<Tokens>,
    log: Arc<dyn EventLog>,
    newest: watch::Sender<u64>,
    log_window: Arc<LogWindow>,
    log_unavailable: watch::Sender<bool>,
    /// Sequence number of the last entry that was processed.
    last_sequence: u64,
    /// Time of the last check that the log still has that entry.
    rollback_checked_at: Instant,
}

impl EventLogFollower {
    /// Starts to follow the log after its newest entry. Reads every `poll`, and at once when this process has appended
    /// an entry.
    pub async fn start(
        sessions: Arc<Sessions>,
        tokens: Arc<Tokens>,
        log: Arc<dyn EventLog>,
        poll: Duration,
    ) -> Result<Self, StoreError> {
        let last_sequence = log.bounds().await?.newest;
        let (newest_sender, newest_sequence) = watch::channel(last_sequence);
        let log_window = Arc::new(LogWindow::starting_after(last_sequence));
        let (log_unavailable_sender, log_unavailable) = watch::channel(false);
        let follower = FollowerTask {
            sessions,
            tokens,
            log,
            newest: newest_sender,
            log_window: log_window.clone(),
            log_unavailable: log_unavailable_sender,
            last_sequence,
            rollback_checked_at: Instant::now(),
        };
        let task = tokio::spawn(follower.run(poll)).abort_handle();
        Ok(Self {
            newest: newest_sequence,
            log_window,
            log_unavailable,
            task,
        })
    }

    /// The sequence number of the last processed entry; changes with every entry.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// The latest ended sessions and moved keys; `newest` changes with each of them.
    #[must_use]
    pub fn log_window(&self) -> Arc<LogWindow> {
        self.log_window.clone()
    }

    /// Whether the log has not answered for a while. While this is true, session ends may go unnoticed here.
    #[must_use]
    pub fn log_unavailable(&self) -> watch::Receiver<bool> {
        self.log_unavailable.clone()
    }
}

impl Drop for EventLogFollower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FollowerTask {
    async fn run(mut self, poll: Duration) {
        let log_appended = self.sessions.log_appended();
        let mut ticks = ticker(poll);
        let mut failing = false;
        let mut answered_at = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = log_appended.notified() => {}
            }
            let result = self.read_new_entries().await;
            if result.is_ok() {
                answered_at = Instant::now();
            }
            let log_unavailable = answered_at.elapsed() >= LOG_UNAVAILABLE_AFTER;
            self.log_unavailable.send_if_modified(|was_unavailable| {
                std::mem::replace(was_unavailable, log_unavailable) != log_unavailable
            });
            match result {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("the event log answers again");
                }
                Ok(()) => {}
                Err(error) if failing => tracing::debug!(%error, "the event log does not answer"),
                Err(error) => {
                    failing = true;
                    tracing::warn!(%error, "the event log does not answer");
                }
            }
        }
    }

    async fn read_new_entries(&mut self) -> Result<(), StoreError> {
        loop {
            let entries = self.log.events_after(self.last_sequence, BATCH).await?;
            let Some((first, _)) = entries.first() else {
                return self.check_for_rollback().await;
            };
            if *first > self.last_sequence + 1 {
                tracing::warn!("the event log lost entries before they were read");
                self.sessions.invalidate_all();
            }
            for (sequence, event) in entries {
                if let Some(cause) = event.cause {
                    let (name, runtime) = (&event.session_ref, &event.runtime);
                    self.sessions.on_session_ended(name, runtime, cause);
                    self.tokens.forget(&event.session_ref);
                    tracing::debug!(session = event.session_ref, cause = cause.as_str(), "ended");
                }
                self.log_window.append(sequence, &event);
                self.last_sequence = sequence;
            }
            self.newest.send_replace(self.last_sequence);
        }
    }

    /// Detects a rollback of the log. A store that has lost its latest writes (a Redis fail-over, a restored backup)
    /// assigns their sequence numbers a second time. Without this check, the follower would miss all entries until the
    /// log has caught up with the last sequence number.
    async fn check_for_rollback(&mut self) -> Result<(), StoreError> {
        if self.rollback_checked_at.elapsed() < ROLLBACK_CHECK_INTERVAL {
            return Ok(());
        }
        self.rollback_checked_at = Instant::now();
        let newest_sequence = self.log.bounds().await?.newest;
        if newest_sequence < self.last_sequence {
            let last_read = self.last_sequence;
            tracing::warn!(
                newest_sequence,
                last_read,
                "the event log has lost entries already read"
            );
            self.sessions.invalidate_all();
            self.log_window.rewind(newest_sequence);
            self.last_sequence = newest_sequence;
            self.newest.send_replace(newest_sequence);
        }
        Ok(())
    }
}
