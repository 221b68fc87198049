//! Follows the event log of the store: applies session ends from other replicas to this process, and wakes the tasks
//! that wait for events. Decides when the log counts as unavailable or rolled back. Must not know who reads.

mod ended_sessions;

use crate::sessions::Sessions;
use crate::sessions::tokens::Tokens;
use berth_store::{EventLog, StoreError};
pub use ended_sessions::{Ended, Ends, News};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};

/// Maximum number of entries read from the store at once.
const BATCH: u32 = 500;

/// Interval of the check whether the log has lost entries that were already read.
const COMPARE: Duration = Duration::from_secs(1);

/// After this long without an answer from the event log, it counts as unavailable and long polls fail with
/// `store-down`.
const DEAF_AFTER: Duration = Duration::from_secs(3);

/// Handle of the task that follows the log; dropping it stops the task.
pub struct Feed {
    newest: watch::Receiver<u64>,
    ends: Arc<Ends>,
    deaf: watch::Receiver<bool>,
    task: AbortHandle,
}

struct Follower {
    sessions: Arc<Sessions>,
    tokens: Arc<Tokens>,
    log: Arc<dyn EventLog>,
    newest: watch::Sender<u64>,
    ends: Arc<Ends>,
    deaf: watch::Sender<bool>,
    /// Sequence number of the last entry that was processed.
    seen: u64,
    /// Time of the last check that the log still has that entry.
    compared: Instant,
}

impl Feed {
    /// Starts to follow the log after its newest entry. Reads every `poll`, and at once when this process has appended
    /// an entry.
    pub async fn start(
        sessions: Arc<Sessions>,
        tokens: Arc<Tokens>,
        log: Arc<dyn EventLog>,
        poll: Duration,
    ) -> Result<Self, StoreError> {
        let seen = log.bounds().await?.newest;
        let (sender, newest) = watch::channel(seen);
        let ends = Arc::new(Ends::from(seen));
        let (tell, deaf) = watch::channel(false);
        let follower = Follower {
            sessions,
            tokens,
            log,
            newest: sender,
            ends: ends.clone(),
            deaf: tell,
            seen,
            compared: Instant::now(),
        };
        let task = tokio::spawn(follower.run(poll)).abort_handle();
        Ok(Self {
            newest,
            ends,
            deaf,
            task,
        })
    }

    /// The sequence number of the last processed entry; changes with every entry.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// The latest ended sessions; `newest` changes with each of them.
    #[must_use]
    pub fn ends(&self) -> Arc<Ends> {
        self.ends.clone()
    }

    /// Whether the log has not answered for a while. While this is true, session ends may go unnoticed here.
    #[must_use]
    pub fn deaf(&self) -> watch::Receiver<bool> {
        self.deaf.clone()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    async fn run(mut self, poll: Duration) {
        let news = self.sessions.news();
        let mut ticks = tokio::time::interval(poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lost = false;
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = news.notified() => {}
            }
            let step = self.step().await;
            if step.is_ok() {
                heard = Instant::now();
            }
            let deaf = heard.elapsed() >= DEAF_AFTER;
            self.deaf
                .send_if_modified(|before| std::mem::replace(before, deaf) != deaf);
            match step {
                Ok(()) if lost => {
                    lost = false;
                    tracing::info!("the event log answers again");
                }
                Ok(()) => {}
                Err(error) if lost => tracing::debug!(%error, "the event log does not answer"),
                Err(error) => {
                    lost = true;
                    tracing::warn!(%error, "the event log does not answer");
                }
            }
        }
    }

    async fn step(&mut self) -> Result<(), StoreError> {
        loop {
            let entries = self.log.events_after(self.seen, BATCH).await?;
            let Some((first, _)) = entries.first() else {
                return self.compare().await;
            };
            if *first > self.seen + 1 {
                tracing::warn!("the event log lost entries before they were read");
                self.sessions.hear_of_anything();
            }
            for (sequence, event) in entries {
                if let Some(cause) = event.cause {
                    let (name, runtime) = (&event.session_ref, &event.runtime);
                    self.sessions.hear_of_end(name, runtime, cause);
                    self.tokens.forget(&event.session_ref);
                    tracing::debug!(session = event.session_ref, cause = cause.as_str(), "ended");
                }
                self.ends.saw(sequence, &event);
                self.seen = sequence;
            }
            self.newest.send_replace(self.seen);
        }
    }

    /// Detects a rollback of the log. A store that has lost its latest writes (a Redis fail-over, a restored backup)
    /// assigns their sequence numbers a second time. Without this check, the follower would miss all entries until the
    /// log has caught up with the last sequence number.
    async fn compare(&mut self) -> Result<(), StoreError> {
        if self.compared.elapsed() < COMPARE {
            return Ok(());
        }
        self.compared = Instant::now();
        let newest = self.log.bounds().await?.newest;
        if newest < self.seen {
            let seen = self.seen;
            tracing::warn!(newest, seen, "the event log has lost entries already read");
            self.sessions.hear_of_anything();
            self.ends.back_to(newest);
            self.seen = newest;
            self.newest.send_replace(newest);
        }
        Ok(())
    }
}
