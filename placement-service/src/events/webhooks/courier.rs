//! Carries the events of the log to one webhook: in order, each until it is taken or goes to the dead letters,
//! by one replica at a time. Two that deliver at once, for want of a common clock, tell an event twice; none is
//! lost.

use super::backoff;
use super::hook::{Failure, Hook};
use super::metrics::WebhookMetrics;
use crate::core::clock::Clock;
use berth_store::{DeadLetter, Event, StoreError, Stores};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Entries read from the log in one step.
const BATCH: u32 = 100;
/// Dead letters of one webhook that are kept: a receiver that is gone for good must not fill the store.
pub(super) const KEPT_LETTERS: u32 = 10_000;
/// How often a lease is given back at the end of the process, should the store fail.
const LAST_TRIES: u32 = 3;

/// The task of one webhook.
pub(super) struct Courier {
    pub(super) hook: Arc<Hook>,
    pub(super) stores: Stores,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: WebhookMetrics,
    /// Changes with every entry of the log.
    pub(super) newest: watch::Receiver<u64>,
    /// This process, among those that may deliver.
    pub(super) holder: String,
    pub(super) lease: Duration,
    pub(super) failures: Failures,
}

/// Failed attempts at the event at hand. Another replica may have seen it through since, while it had the lease.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<AtHand>);

#[derive(Debug, Default)]
struct AtHand {
    sequence: u64,
    failures: u32,
}

impl Failures {
    /// One more at that event; how many there are by now.
    fn add(&self, sequence: u64) -> u32 {
        let mut at_hand = self.at(sequence);
        at_hand.failures = at_hand.failures.saturating_add(1);
        at_hand.failures
    }

    /// How many there were at that event, which is done with.
    fn end(&self, sequence: u64) -> u32 {
        std::mem::take(&mut self.at(sequence).failures)
    }

    fn at(&self, sequence: u64) -> MutexGuard<'_, AtHand> {
        let mut at_hand = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if at_hand.sequence != sequence {
            *at_hand = AtHand {
                sequence,
                failures: 0,
            };
        }
        at_hand
    }
}

impl Courier {
    /// What the position and the lease are kept under.
    fn reader(&self) -> String {
        reader(&self.hook.config.name)
    }

    /// A webhook that is new begins with what happens from now on.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        let log = &self.stores.events;
        if log.position(&self.reader()).await?.is_none() {
            let newest = log.bounds().await?.newest;
            log.set_position(&self.reader(), newest).await?;
        }
        Ok(())
    }

    /// Delivers whenever this process has the lease; for ever.
    pub(super) async fn run(self: Arc<Self>) {
        let name = &self.hook.config.name;
        let mut lost = false;
        loop {
            let turn = self.turn().await;
            self.metrics.no_lag(name);
            match turn {
                Ok(()) => lost = false,
                Err(error) if lost => tracing::debug!(name, %error, "no deliveries"),
                Err(error) => {
                    lost = true;
                    tracing::warn!(name, %error, "no deliveries: the store does not answer");
                }
            }
            tokio::time::sleep(self.lease / 3).await;
        }
    }

    /// Gives the lease back, so that another replica need not wait for its end. A connection may have ended with
    /// the thread that opened it: then the next try gets another.
    pub(super) async fn release(&self) {
        for _ in 0..LAST_TRIES {
            match self.take(Duration::ZERO).await {
                Ok(_) => return,
                Err(error) => tracing::debug!(%error, "a lease was not given back"),
            }
        }
    }

    /// Delivers until the lease is another's; at once if it is.
    async fn turn(&self) -> Result<(), StoreError> {
        if !self.take(self.lease).await? {
            return Ok(());
        }
        tokio::select! {
            ended = self.keep_lease() => ended,
            failed = self.deliver() => failed,
        }
    }

    async fn take(&self, lease: Duration) -> Result<bool, StoreError> {
        let (now_ms, reader) = (self.clock.now_ms(), self.reader());
        let ttl_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        let shared = &self.stores.shared;
        shared.lease(&reader, &self.holder, now_ms, ttl_ms).await
    }

    async fn keep_lease(&self) -> Result<(), StoreError> {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            if !self.take(self.lease).await? {
                return Ok(());
            }
        }
    }

    /// Ends only when the store does not answer.
    async fn deliver(&self) -> Result<(), StoreError> {
        let (log, name) = (&self.stores.events, &self.hook.config.name);
        let mut newest = self.newest.clone();
        let mut at = log.position(&self.reader()).await?.unwrap_or_default();
        loop {
            // Before reading: whatever is added from here on rings.
            newest.mark_unchanged();
            let bounds = log.bounds().await?;
            if at < bounds.removed {
                let missed = bounds.removed - at;
                self.metrics.missed(name, missed);
                tracing::warn!(
                    name,
                    missed,
                    "events left the log before they were delivered"
                );
                at = bounds.removed;
            }
            if at > bounds.newest {
                tracing::warn!(
                    name,
                    newest = bounds.newest,
                    at,
                    "the event log has lost what was delivered of it"
                );
                at = bounds.newest;
                log.set_position(&self.reader(), at).await?;
            }
            let entries = log.events_after(at, BATCH).await?;
            let none = entries.is_empty();
            self.metrics.lag(name, bounds.newest.saturating_sub(at));
            for (sequence, event) in entries {
                at = sequence;
                if self.hook.wants(&event) {
                    self.see_through(sequence, event).await?;
                    log.set_position(&self.reader(), at).await?;
                    self.metrics.lag(name, bounds.newest.saturating_sub(at));
                }
            }
            if !none {
                log.set_position(&self.reader(), at).await?;
            } else if newest.changed().await.is_err() {
                // Nobody follows the log any more: the service has ended.
                return Ok(());
            }
        }
    }

    /// Tells of one event until the webhook takes it, or it is a dead letter.
    async fn see_through(&self, sequence: u64, event: Event) -> Result<(), StoreError> {
        let config = &self.hook.config;
        loop {
            let Err(failure) = self.hook.attempt(sequence, &event).await else {
                self.metrics.delivery(&config.name, "ok");
                let before = self.failures.end(sequence);
                if before > 0 {
                    tracing::info!(name = config.name, before, "delivered after failures");
                }
                return Ok(());
            };
            let failures = self.failures.add(sequence);
            if failures >= config.attempts || failure.permanent {
                self.metrics.delivery(&config.name, "dead-letter");
                tracing::warn!(
                    name = config.name,
                    sequence,
                    failure = failure.words,
                    "a dead letter"
                );
                let letter = letter(&config.name, sequence, event, failure, self.clock.now_ms());
                let log = &self.stores.events;
                log.add_dead_letter(&letter, KEPT_LETTERS).await?;
                self.failures.end(sequence);
                return Ok(());
            }
            self.metrics.delivery(&config.name, "failed");
            if failures == 1 {
                tracing::warn!(
                    name = config.name,
                    failure = failure.words,
                    "not delivered yet"
                );
            }
            let wait = backoff::wait(&config.backoff, failures, &mut rand::rng());
            tokio::time::sleep(wait).await;
        }
    }
}

/// An event that was given up.
pub(super) fn letter(
    webhook: &str,
    sequence: u64,
    event: Event,
    failure: Failure,
    at_ms: u64,
) -> DeadLetter {
    DeadLetter {
        webhook: webhook.to_owned(),
        sequence,
        event,
        error: failure.words,
        at_ms,
    }
}

/// The name of a webhook's position and lease.
fn reader(webhook: &str) -> String {
    format!("webhook/{webhook}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_those_of_one_event() {
        let failures = Failures::default();
        assert_eq!((failures.add(7), failures.add(7)), (1, 2));
        assert_eq!(failures.add(9), 1, "another replica saw 7 through");
        assert_eq!(failures.end(9), 1);
        assert_eq!(failures.end(9), 0);
        assert_eq!((failures.add(9), failures.end(10)), (1, 0));
    }
}
