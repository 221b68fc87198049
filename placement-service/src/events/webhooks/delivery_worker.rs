//! Delivers the events of the log to one webhook, in order. Retries each event until the webhook accepts it or it
//! becomes a dead letter. A lease selects the one replica that delivers. A replica that was suspended for longer than its
//! lease may go on beside the next holder: then an event is delivered twice, but none is lost. Must not know what is sent.

use super::endpoint::{Endpoint, Failure};
use super::metrics::WebhookMetrics;
use crate::core::backoff::{ExponentialBackoff, FULL_JITTER};
use crate::core::clock::Clock;
use berth_store::{DeadLetter, Event, StoreError, Stores};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Maximum number of entries read from the log at once.
const BATCH: u32 = 100;
/// Maximum number of dead letters kept per webhook, so that a receiver that never returns cannot fill the store.
pub(super) const MAX_DEAD_LETTERS: u32 = 10_000;
/// Attempts to release a lease at shutdown when the store fails.
const MAX_RELEASE_ATTEMPTS: u32 = 3;

/// The delivery worker of one webhook.
pub(super) struct DeliveryWorker {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) stores: Stores,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: WebhookMetrics,
    /// Sequence number of the newest log entry; changes with every entry.
    pub(super) newest: watch::Receiver<u64>,
    /// Identifies this process as the holder of the lease.
    pub(super) holder: String,
    pub(super) lease: Duration,
    pub(super) failures: FailureCount,
}

/// Counts the failed attempts of the current event. Another event restarts the count, also when another replica has
/// completed the current one while it held the lease.
#[derive(Debug, Default)]
pub(super) struct FailureCount(Mutex<CurrentEvent>);

#[derive(Debug, Default)]
struct CurrentEvent {
    sequence: u64,
    failures: u32,
}

impl FailureCount {
    /// Counts one more failure of the event; returns the count.
    fn add(&self, sequence: u64) -> u32 {
        let mut current = self.lock_for(sequence);
        current.failures = current.failures.saturating_add(1);
        current.failures
    }

    /// Resets the count of a completed event; returns the count before.
    fn reset(&self, sequence: u64) -> u32 {
        std::mem::take(&mut self.lock_for(sequence).failures)
    }

    fn lock_for(&self, sequence: u64) -> MutexGuard<'_, CurrentEvent> {
        let mut current = self.0.lock();
        if current.sequence != sequence {
            *current = CurrentEvent {
                sequence,
                failures: 0,
            };
        }
        current
    }
}

impl DeliveryWorker {
    /// The name under which the store keeps the position and the lease.
    fn reader(&self) -> String {
        reader(&self.endpoint.config.name)
    }

    /// Sets the position of a new webhook to the newest entry: it receives only events from now on.
    pub(super) async fn init_position(&self) -> Result<(), StoreError> {
        let log = &self.stores.events;
        if log.position(&self.reader()).await?.is_none() {
            let newest_sequence = log.bounds().await?.newest;
            log.set_position(&self.reader(), newest_sequence).await?;
        }
        Ok(())
    }

    /// Delivers while this process holds the lease. Never returns.
    pub(super) async fn run(self: Arc<Self>) {
        let name = &self.endpoint.config.name;
        let mut failing = false;
        loop {
            let result = self.run_as_leader().await;
            self.metrics.remove_lag(name);
            match result {
                Ok(()) => failing = false,
                Err(error) if failing => tracing::debug!(name, %error, "deliveries are paused"),
                Err(error) => {
                    failing = true;
                    tracing::warn!(name, %error, "deliveries are paused: the store does not answer");
                }
            }
            tokio::time::sleep(self.lease / 3).await;
        }
    }

    /// Releases the lease, so that another replica need not wait until it expires. At shutdown a store connection may
    /// have closed with the thread that opened it; the next attempt gets another connection.
    pub(super) async fn release(&self) {
        for _ in 0..MAX_RELEASE_ATTEMPTS {
            let shared = &self.stores.coordination;
            match shared.release_lease(&self.reader(), &self.holder).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "a lease was not released"),
            }
        }
    }

    /// Delivers until another replica holds the lease; returns at once if one does.
    async fn run_as_leader(&self) -> Result<(), StoreError> {
        if !self.acquire_lease().await? {
            return Ok(());
        }
        tokio::select! {
            ended = self.renew_lease() => ended,
            failed = self.deliver() => failed,
        }
    }

    async fn acquire_lease(&self) -> Result<bool, StoreError> {
        let coordination = &self.stores.coordination;
        let (reader, holder) = (self.reader(), &self.holder);
        coordination.lease(&reader, holder, self.lease).await
    }

    async fn renew_lease(&self) -> Result<(), StoreError> {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            if !self.acquire_lease().await? {
                return Ok(());
            }
        }
    }

    /// Delivers events until the store fails or the service shuts down.
    async fn deliver(&self) -> Result<(), StoreError> {
        let (log, name) = (&self.stores.events, &self.endpoint.config.name);
        let mut newest_sequence = self.newest.clone();
        let mut position = log.position(&self.reader()).await?.unwrap_or_default();
        loop {
            // Mark before reading, so that an entry appended during the read ends the wait below.
            newest_sequence.mark_unchanged();
            let bounds = log.bounds().await?;
            if position < bounds.removed {
                let missed = bounds.removed - position;
                self.metrics.count_missed(name, missed);
                tracing::warn!(
                    name,
                    missed,
                    "events were trimmed from the log before they were delivered"
                );
                position = bounds.removed;
            }
            if position > bounds.newest {
                tracing::warn!(
                    name,
                    newest = bounds.newest,
                    position,
                    "the event log has lost entries that were already delivered"
                );
                position = bounds.newest;
                log.set_position(&self.reader(), position).await?;
            }
            let entries = log.events_after(position, BATCH).await?;
            let is_empty = entries.is_empty();
            self.metrics
                .set_lag(name, bounds.newest.saturating_sub(position));
            for (sequence, event) in entries {
                position = sequence;
                if self.endpoint.is_subscribed_to(&event) {
                    self.deliver_with_retries(sequence, event).await?;
                    log.set_position(&self.reader(), position).await?;
                    self.metrics
                        .set_lag(name, bounds.newest.saturating_sub(position));
                }
            }
            if !is_empty {
                log.set_position(&self.reader(), position).await?;
            } else if newest_sequence.changed().await.is_err() {
                // The follower of the log is gone: the service shuts down.
                return Ok(());
            }
        }
    }

    /// Attempts to deliver one event until the webhook accepts it or it becomes a dead letter.
    async fn deliver_with_retries(&self, sequence: u64, event: Event) -> Result<(), StoreError> {
        let config = &self.endpoint.config;
        loop {
            let Err(failure) = self.endpoint.attempt(sequence, &event).await else {
                self.metrics.count_delivery(&config.name, "ok");
                let failures_before = self.failures.reset(sequence);
                if failures_before > 0 {
                    tracing::info!(
                        name = config.name,
                        failures_before,
                        "delivered after failures"
                    );
                }
                return Ok(());
            };
            let failures = self.failures.add(sequence);
            if failures >= config.attempts || failure.permanent {
                self.metrics.count_delivery(&config.name, "dead-letter");
                tracing::warn!(
                    name = config.name,
                    sequence,
                    failure = failure.message,
                    "an event became a dead letter"
                );
                let letter_row =
                    dead_letter(&config.name, sequence, event, failure, self.clock.now_ms());
                let log = &self.stores.events;
                log.add_dead_letter(&letter_row, MAX_DEAD_LETTERS).await?;
                self.failures.reset(sequence);
                return Ok(());
            }
            self.metrics.count_delivery(&config.name, "failed");
            if failures == 1 {
                tracing::warn!(
                    name = config.name,
                    failure = failure.message,
                    "a delivery failed and is retried"
                );
            }
            let backoff = ExponentialBackoff::from(config.backoff);
            let delay = backoff.jittered_delay(failures, FULL_JITTER, &mut rand::rng());
            tokio::time::sleep(delay).await;
        }
    }
}

/// The dead letter of an event whose delivery failed for good.
pub(super) fn dead_letter(
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
        error: failure.message,
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
    fn failures_are_counted_per_event() {
        let failures = FailureCount::default();
        assert_eq!((failures.add(7), failures.add(7)), (1, 2));
        assert_eq!(failures.add(9), 1, "another replica has completed 7");
        assert_eq!(failures.reset(9), 1);
        assert_eq!(failures.reset(9), 0);
        assert_eq!((failures.add(9), failures.reset(10)), (1, 0));
    }
}
