//! The queue of sessions that a request or an open stream found expired. They end within a second or two, with an
//! event, instead of waiting for the next periodic removal. Knows neither requests nor streams.

use super::Sessions;
use crate::core::ticker::ticker;
use berth_store::StoreError;
use berth_store::session_id::IdHash;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How often the queue is processed.
const INTERVAL: Duration = Duration::from_millis(250);
/// Maximum length of the queue. The periodic removal of expired sessions finds the rest.
const MAX_QUEUED: usize = 10_000;

/// Ids of sessions to check.
#[derive(Default)]
pub(super) struct ExpiryQueue(Mutex<HashSet<IdHash>>);

impl ExpiryQueue {
    /// Adds a session that has expired as far as this process knows.
    pub(super) fn push(&self, id: IdHash) {
        let mut ids = self.0.lock();
        if ids.len() < MAX_QUEUED {
            ids.insert(id);
        }
    }

    fn take(&self) -> Vec<IdHash> {
        let mut ids = self.0.lock();
        ids.drain().collect()
    }
}

/// Runs in every replica: the store removes a session once, so only one replica ends it.
pub(super) async fn run_expiry_queue(sessions: Arc<Sessions>) {
    let mut ticks = ticker(INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = sessions.process_expiry_queue().await {
            tracing::debug!(%error, "expired sessions were not ended");
        }
    }
}

impl Sessions {
    /// Ends queued sessions that are past the expiry cutoff. Expired ones within the grace period stay queued.
    pub(super) async fn process_expiry_queue(&self) -> Result<(), StoreError> {
        let ids = self.expiry_queue.take();
        let mut expired_rows = Vec::new();
        for (n, id) in ids.iter().enumerate() {
            let row = match self.stores.sessions.find(id).await {
                Ok(Some(row)) => row,
                // It has ended meanwhile, or another login service owns it.
                Ok(None) | Err(StoreError::ReadOnly) => continue,
                Err(error) => {
                    ids.iter()
                        .skip(n)
                        .for_each(|id| self.expiry_queue.push(*id));
                    return Err(error);
                }
            };
            if row.ends_at_ms() <= self.expiry_cutoff_ms() {
                expired_rows.push(row);
            } else if row.ends_at_ms() <= self.clock.now_ms() {
                self.expiry_queue.push(*id);
            }
        }
        let retry_ids: Vec<_> = expired_rows.iter().map(|row| row.id_hash).collect();
        let result = self.end_expired_rows(expired_rows).await;
        if result.is_err() {
            retry_ids
                .into_iter()
                .for_each(|id| self.expiry_queue.push(id));
        }
        result.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use crate::sessions::tests::{MINUTE_MS, demo, rejection_reason, testbed};
    use berth_api::RejectReason;
    use berth_store::{EndCause, EventLog};

    #[tokio::test]
    async fn a_session_found_expired_ends_with_an_event() {
        let testbed = testbed().await;
        let (id, live) = testbed.sessions.create(demo()).await.unwrap();
        testbed.clock.advance_ms(30 * MINUTE_MS);
        let expired = rejection_reason(testbed.sessions.resolve(id.reveal())).await;
        assert_eq!(expired, RejectReason::SessionExpired);
        testbed.sessions.process_expiry_queue().await.unwrap();
        let no_events = testbed.store.events_after(1, 10).await.unwrap();
        assert_eq!(no_events, [], "within the grace period of other replicas");
        testbed.clock.advance_ms(1_000);
        testbed.sessions.process_expiry_queue().await.unwrap();
        let (_, event) = testbed.store.events_after(1, 10).await.unwrap().remove(0);
        assert_eq!(event.session_ref, live.session_ref);
        assert_eq!(event.cause, Some(EndCause::IdleTimeout));
        let reason = rejection_reason(testbed.sessions.resolve(id.reveal())).await;
        assert_eq!(reason, RejectReason::SessionExpired, "not unknown");
    }

    #[tokio::test]
    async fn the_queue_is_kept_while_the_store_is_down() {
        let testbed = testbed().await;
        let (id, _) = testbed.sessions.create(demo()).await.unwrap();
        testbed.clock.advance_ms(31 * MINUTE_MS);
        assert!(testbed.sessions.resolve(id.reveal()).await.is_err());
        testbed.store.close().await;
        assert!(testbed.sessions.process_expiry_queue().await.is_err());
        assert_eq!(testbed.sessions.expiry_queue.take(), [id.hash()]);
    }
}
