//! Follows the event log: what other replicas did to sessions takes hold here too, and whoever waits for
//! events is woken.

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

/// Entries read in one step.
const BATCH: u32 = 500;

/// How often it is looked whether the log has lost what was read of it.
const COMPARE: Duration = Duration::from_secs(1);

/// How long the log may not answer before its readers are told that they hear nothing.
const DEAF_AFTER: Duration = Duration::from_secs(3);

/// The task that follows the log.
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
    /// The sequence number up to which everything has been seen.
    seen: u64,
    /// When it was last looked whether the log still has that.
    compared: Instant,
}

impl Feed {
    /// Follows the log from its newest entry on; looks every `poll`, and at once when this process has
    /// added to it.
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

    /// Changes with every entry that has been seen: the newest sequence number.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.clone()
    }

    /// The latest ends of sessions; `newest` tells of each.
    #[must_use]
    pub fn ends(&self) -> Arc<Ends> {
        self.ends.clone()
    }

    /// Whether the log has not answered for a while: sessions may end and nobody here hears of it.
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
                tracing::warn!("the event log lost entries before they were seen");
                self.sessions.hear_of_anything();
            }
            for (sequence, event) in entries {
                if let Some(cause) = event.cause {
                    let (name, runtime) = (&event.session_ref, &event.runtime);
                    self.sessions.hear_of_end(name, runtime, cause);
                    self.tokens.forget(&event.session_ref);
                    tracing::debug!(session = event.session_ref, cause = cause.as_str(), "heard");
                }
                self.ends.saw(sequence, &event);
                self.seen = sequence;
            }
            self.newest.send_replace(self.seen);
        }
    }

    /// A store that has lost its latest writes (a fail-over of Redis, a restored backup) gives their numbers anew:
    /// without this, nothing would be heard until it has caught up.
    async fn compare(&mut self) -> Result<(), StoreError> {
        if self.compared.elapsed() < COMPARE {
            return Ok(());
        }
        self.compared = Instant::now();
        let newest = self.log.bounds().await?.newest;
        if newest < self.seen {
            let seen = self.seen;
            tracing::warn!(newest, seen, "the event log has lost what was read of it");
            self.sessions.hear_of_anything();
            self.ends.back_to(newest);
            self.seen = newest;
            self.newest.send_replace(newest);
        }
        Ok(())
    }
}
