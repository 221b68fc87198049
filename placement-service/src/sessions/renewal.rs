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
        let (id, mut known) = self.lookup(cookie).await?;
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
            known = self.cache_row(row.map_err(|e| store_down(&e))?);
        } else {
            self.record_activity_with_ancestors(id, &known, now_ms);
        }
        Ok((known.live.clone(), remaining_time(&known, now_ms)?))
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
        let seen: Vec<_> = family.iter().map(|id| (*id, now_ms)).collect();
        self.stores.sessions.touch(&seen).await?;
        let event = self.new_event(&row, EventKind::Renewed);
        self.stores.events.append(&[event]).await?;
        self.log_appended.notify_one();
        for id in &family {
            if let Some(known) = self.cache.get(id) {
                known.record_activity(now_ms);
            }
        }
        row.last_seen_at_ms = row.last_seen_at_ms.max(now_ms);
        Ok(row)
    }
}

/// The remaining time of a session, in whole seconds. An error if it has expired.
pub(super) fn remaining_time(
    known: &CachedSession,
    now_ms: u64,
) -> Result<RemainingTime, Rejection> {
    let (idle_ms, absolute_ms) = known
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
        let w = testbed().await;
        let (id, live) = w.sessions.create(demo()).await.unwrap();
        w.clock.advance_ms(29 * MINUTE_MS);
        let (renewed, left) = w.sessions.renew(id.reveal()).await.unwrap();
        assert_eq!(renewed, live);
        assert_eq!((left.idle_s, left.absolute_s), (30 * 60, 36_000 - 29 * 60));
        let row = w.store.find(&id.hash()).await.unwrap().unwrap();
        assert_eq!(row.last_seen_at_ms, row.created_at_ms + 29 * MINUTE_MS);
        let (_, event) = w.store.events_after(1, 10).await.unwrap().remove(0);
        assert_eq!(event.kind, EventKind::Renewed);
        assert_eq!(
            (event.session_ref, event.previous_ref),
            (live.session_ref.clone(), None)
        );
        w.clock.advance_ms(29 * MINUTE_MS);
        assert!(w.sessions.resolve(id.reveal()).await.is_ok());
    }

    #[tokio::test]
    async fn a_renewal_does_not_move_the_absolute_expiry() {
        let w = testbed().await;
        let (id, _) = w.sessions.create(demo()).await.unwrap();
        for _ in 0..29 {
            w.clock.advance_ms(20 * MINUTE_MS);
            w.sessions.renew(id.reveal()).await.unwrap();
        }
        w.clock.advance_ms(20 * MINUTE_MS);
        let over = async { w.sessions.renew(id.reveal()).await.map(|(live, _)| live) };
        assert_eq!(rejection_reason(over).await, RejectReason::SessionExpired);
    }

    #[tokio::test]
    async fn renewals_are_written_once_per_interval() {
        let w = testbed().await;
        let (id, _) = w.sessions.create(demo()).await.unwrap();
        w.clock.advance_ms(3 * MINUTE_MS);
        for _ in 0..100 {
            w.clock.advance_ms(1_000);
            let (_, left) = w.sessions.renew(id.reveal()).await.unwrap();
            assert_eq!(left.idle_s, 30 * 60);
        }
        let events = w.store.events_after(1, 1_000).await.unwrap();
        assert_eq!(events.len(), 1);
        w.clock.advance_ms(121_000);
        w.sessions.renew(id.reveal()).await.unwrap();
        assert_eq!(w.store.events_after(1, 1_000).await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn an_expired_session_is_not_renewed() {
        let w = testbed().await;
        let (id, _) = w.sessions.create(demo()).await.unwrap();
        w.clock.advance_ms(30 * MINUTE_MS);
        let over = async { w.sessions.renew(id.reveal()).await.map(|(live, _)| live) };
        assert_eq!(rejection_reason(over).await, RejectReason::SessionExpired);
        assert_eq!(w.store.events_after(1, 10).await.unwrap(), []);
    }
}
