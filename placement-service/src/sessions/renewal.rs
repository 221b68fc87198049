//! Renewal of a session ("stay signed in"): activity on request. The store has it before the response, but is written
//! no more often than for other activity.

use super::activity::write_interval_ms;
use super::cache::{CachedSession, RemainingTime};
use super::{LiveSession, Sessions, store_down};
use crate::core::rejection::Rejection;
use berth_api::RejectReason;
use berth_store::session_id::IdHash;
use berth_store::{EventKind, SessionRow, StoreError};
use std::sync::Arc;

impl Sessions {
    /// Records activity of the session that a cookie names and of its ancestors. Only the idle timeout starts over: the
    /// absolute expiry stays. If the store was written within the write interval, the activity is only buffered, like
    /// that of any request.
    ///
    /// # Errors
    /// As for [`Self::resolve`]. A session that is no longer in the store is unknown.
    pub async fn renew(
        &self,
        cookie: &str,
    ) -> Result<(Arc<LiveSession>, RemainingTime), Rejection> {
        let (id, mut session) = self.lookup(cookie).await?;
        // Reads the store, since another replica may have ended the session.
        let row = self.stores.sessions.find(&id).await;
        let row = row
            .map_err(|e| store_down(&e))?
            .ok_or_else(|| self.unknown_session(Some(id)))?;
        let now_ms = self.clock.now_ms();
        tracing::info!(target: "berth::audit", event = "session-renewed", account = row.account,
            session = row.session_ref);
        let interval_ms = write_interval_ms(row.idle_timeout_ms);
        if row.last_seen_at_ms.saturating_add(interval_ms) <= now_ms {
            let row = self.write_renewal(row, now_ms).await;
            session = self.cache_row(row.map_err(|e| store_down(&e))?);
        } else {
            self.record_activity_with_ancestors(id, &session, now_ms);
        }
        Ok((session.live.clone(), remaining_time(&session, now_ms)?))
    }

    /// Touches the session and its ancestors in the store, and logs the renewal. Returns the row as it is then.
    async fn write_renewal(
        &self,
        mut row: SessionRow,
        now_ms: u64,
    ) -> Result<SessionRow, StoreError> {
        let family: Vec<IdHash> = std::iter::once(&row.id_hash)
            .chain(&row.ancestors)
            .copied()
            .collect();
        let activity: Vec<_> = family.iter().map(|id| (*id, now_ms)).collect();
        self.stores.sessions.touch(&activity).await?;
        let event = self.new_event(&row, EventKind::Renewed);
        self.stores.events.append(&[event]).await?;
        self.log_appended.notify_one();
        for id in &family {
            if let Some(session) = self.cache.get(id) {
                session.record_activity(now_ms);
            }
        }
        row.last_seen_at_ms = row.last_seen_at_ms.max(now_ms);
        Ok(row)
    }
}

/// The remaining time of a session, in whole seconds. An error if it has expired.
pub(super) fn remaining_time(
    session: &CachedSession,
    now_ms: u64,
) -> Result<RemainingTime, Rejection> {
    let (idle_ms, absolute_ms) = session
        .remaining_ms(now_ms)
        .ok_or(RejectReason::SessionExpired)?;
    Ok(RemainingTime {
        idle_s: idle_ms.min(absolute_ms) / 1000,
        absolute_s: absolute_ms / 1000,
    })
}

#[cfg(test)]
mod tests {
    use crate::sessions::tests::{MINUTE_MS, demo, rejection_reason, testbed};
    use berth_api::RejectReason;
    use berth_store::{EventKind, EventLog, SessionStore};

    #[tokio::test]
    async fn a_renewal_restarts_the_idle_timeout_and_is_stored_immediately() {
        let testbed = testbed().await;
        let (id, live) = testbed.sessions.create(demo()).await.unwrap();
        testbed.clock.advance_ms(29 * MINUTE_MS);
        let (renewed, remaining) = testbed.sessions.renew(id.reveal()).await.unwrap();
        assert_eq!(renewed, live);
        assert_eq!(
            (remaining.idle_s, remaining.absolute_s),
            (30 * 60, 36_000 - 29 * 60)
        );
        let row = testbed.store.find(&id.hash()).await.unwrap().unwrap();
        assert_eq!(row.last_seen_at_ms, row.created_at_ms + 29 * MINUTE_MS);
        let (_, event) = testbed.store.events_after(1, 10).await.unwrap().remove(0);
        assert_eq!(event.kind, EventKind::Renewed);
        assert_eq!(
            (event.session_ref, event.previous_ref),
            (live.session_ref.clone(), None)
        );
        testbed.clock.advance_ms(29 * MINUTE_MS);
        assert!(testbed.sessions.resolve(id.reveal()).await.is_ok());
    }

    #[tokio::test]
    async fn a_renewal_does_not_move_the_absolute_expiry() {
        let testbed = testbed().await;
        let (id, _) = testbed.sessions.create(demo()).await.unwrap();
        for _ in 0..29 {
            testbed.clock.advance_ms(20 * MINUTE_MS);
            testbed.sessions.renew(id.reveal()).await.unwrap();
        }
        testbed.clock.advance_ms(20 * MINUTE_MS);
        let renewal = async {
            testbed
                .sessions
                .renew(id.reveal())
                .await
                .map(|(live, _)| live)
        };
        assert_eq!(
            rejection_reason(renewal).await,
            RejectReason::SessionExpired
        );
    }

    #[tokio::test]
    async fn renewals_are_written_once_per_interval() {
        let testbed = testbed().await;
        let (id, _) = testbed.sessions.create(demo()).await.unwrap();
        testbed.clock.advance_ms(3 * MINUTE_MS);
        for _ in 0..100 {
            testbed.clock.advance_ms(1_000);
            let (_, remaining) = testbed.sessions.renew(id.reveal()).await.unwrap();
            assert_eq!(remaining.idle_s, 30 * 60);
        }
        let events = testbed.store.events_after(1, 1_000).await.unwrap();
        assert_eq!(events.len(), 1);
        testbed.clock.advance_ms(121_000);
        testbed.sessions.renew(id.reveal()).await.unwrap();
        assert_eq!(testbed.store.events_after(1, 1_000).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_expired_session_is_not_renewed() {
        let testbed = testbed().await;
        let (id, _) = testbed.sessions.create(demo()).await.unwrap();
        testbed.clock.advance_ms(30 * MINUTE_MS);
        let renewal = async {
            testbed
                .sessions
                .renew(id.reveal())
                .await
                .map(|(live, _)| live)
        };
        assert_eq!(
            rejection_reason(renewal).await,
            RejectReason::SessionExpired
        );
        assert_eq!(testbed.store.events_after(1, 10).await.unwrap(), []);
    }
}
