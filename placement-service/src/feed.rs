//! Follows the event log: what other replicas did to sessions takes hold here too, and whoever waits for
//! events is woken.

use crate::sessions::Sessions;
use crate::store::{EventLog, StoreError};
use crate::tokens::Tokens;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

/// Entries read in one step.
const BATCH: u32 = 500;

/// The task that follows the log.
pub struct Feed {
    newest: watch::Receiver<u64>,
    task: AbortHandle,
}

struct Follower {
    sessions: Arc<Sessions>,
    tokens: Arc<Tokens>,
    log: Arc<dyn EventLog>,
    newest: watch::Sender<u64>,
    /// The sequence number up to which everything has been seen.
    seen: u64,
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
        let follower = Follower {
            sessions,
            tokens,
            log,
            newest: sender,
            seen,
        };
        let task = tokio::spawn(follower.run(poll)).abort_handle();
        Ok(Self { newest, task })
    }

    /// Changes with every entry that has been seen: the newest sequence number.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.clone()
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
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = news.notified() => {}
            }
            match self.step().await {
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
                break;
            };
            if *first > self.seen + 1 {
                tracing::warn!("the event log lost entries before they were seen");
                self.sessions.hear_of_anything();
            }
            for (sequence, event) in entries {
                if let Some(cause) = event.cause {
                    self.sessions.hear_of_end(&event.session_ref);
                    self.tokens.forget(&event.session_ref);
                    tracing::debug!(session = event.session_ref, cause = cause.as_str(), "heard");
                }
                self.seen = sequence;
            }
            self.newest.send_replace(self.seen);
        }
        Ok(())
    }
}
