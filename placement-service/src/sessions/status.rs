//! The status of a session by its `session_ref`, and activity recorded by it. For gateways, which never learn the
//! session's id. Does not authenticate anyone.

use super::cache::CachedSession;
use super::{LiveSession, Sessions};
use berth_scheduler::stream_holder::is_token_ref;
use berth_store::session_id::IdHash;
use berth_store::{EndCause, StoreError};
use std::sync::Arc;

/// The status of what a `session_ref` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStatus {
    /// Active. It expires at this time if there is no more activity. Milliseconds since the Unix epoch.
    ActiveUntil(u64),
    /// Expired, and about to be ended.
    Expired,
    /// Ended. The cause, if it is still remembered.
    Ended(Option<EndCause>),
    /// The name is that of a bearer token without a session.
    NotASession,
}

impl Sessions {
    /// The status of a session. Does not count as activity. An expired session is queued, so that it ends soon.
    ///
    /// # Errors
    /// When the store is unavailable, or another login service owns the sessions.
    pub async fn status(&self, session_ref: &str) -> Result<SessionStatus, StoreError> {
        if is_token_ref(session_ref) {
            return Ok(SessionStatus::NotASession);
        }
        let in_memory = self.cache.get_by_ref(session_ref);
        let in_memory = in_memory.and_then(|(id, _)| Some((id, self.get_cached(&id)?)));
        let entry = match in_memory {
            Some(entry) => Some(entry),
            None => self.load_by_ref(session_ref).await?,
        };
        let Some((id, session)) = entry else {
            let id = self.cache.id_by_ref(session_ref);
            let cause = self.cache.end_cause_by_id_or_ref(id.as_ref(), session_ref);
            return Ok(SessionStatus::Ended(cause));
        };
        let mut status = self.own_status(&id, &session);
        for ancestor in &session.ancestors {
            let of_ancestor = match self.get_cached(ancestor) {
                Some(session) => self.own_status(ancestor, &session),
                None => match self.stores.sessions.find(ancestor).await? {
                    Some(row) => self.own_status(ancestor, &self.cache_row(row)),
                    None => SessionStatus::Ended(None),
                },
            };
            status = match (status, of_ancestor) {
                (
                    SessionStatus::ActiveUntil(own_expiry),
                    SessionStatus::ActiveUntil(ancestor_expiry),
                ) => SessionStatus::ActiveUntil(own_expiry.min(ancestor_expiry)),
                // The end of the ancestor ends this session too.
                (SessionStatus::ActiveUntil(_), SessionStatus::Ended(cause)) => {
                    SessionStatus::Ended(child_end_cause(cause))
                }
                (SessionStatus::ActiveUntil(_), other_status) => other_status,
                (own_status, _) => own_status,
            };
        }
        Ok(status)
    }

    /// Whether a session that was resolved a moment ago is still active, as far as this process knows.
    #[must_use]
    pub fn is_still_active(&self, session: &LiveSession) -> bool {
        let id = self.cache.id_by_ref(&session.session_ref);
        let end_cause = self
            .cache
            .end_cause_by_id_or_ref(id.as_ref(), &session.session_ref);
        end_cause.is_none()
    }

    /// Records activity of the session and its ancestors at that time. Does nothing if the session has ended or the
    /// name is not a session's.
    ///
    /// # Errors
    /// When the store is unavailable: the caller must retry.
    pub async fn record_activity(
        &self,
        session_ref: &str,
        active_ms: u64,
    ) -> Result<(), StoreError> {
        if is_token_ref(session_ref) {
            return Ok(());
        }
        let cached = self.cache.get_by_ref(session_ref);
        // If it has expired according to the cache, another replica may have recorded later activity.
        let entry = match cached.filter(|(_, session)| session.remaining_ms(active_ms).is_some()) {
            Some(entry) => Some(entry),
            None => match self.load_by_ref(session_ref).await {
                // The login service that owns the sessions tracks activity itself.
                Err(StoreError::ReadOnly) => None,
                row => row?,
            },
        };
        let Some((id, session)) = entry else {
            return Ok(());
        };
        if !self.record_unless_ended(id, &session, active_ms) {
            return Ok(());
        }
        for ancestor in &session.ancestors {
            let session = match self.get_cached(ancestor) {
                Some(session) => session,
                None => match self.stores.sessions.find(ancestor).await? {
                    Some(row) => self.cache_row(row),
                    None => continue,
                },
            };
            self.record_unless_ended(*ancestor, &session, active_ms);
        }
        Ok(())
    }

    /// `false` when the session has ended or expired: late activity does not make it active again.
    fn record_unless_ended(&self, id: IdHash, session: &CachedSession, active_ms: u64) -> bool {
        if self.cache.end_cause(&id).is_some() {
            return false;
        }
        if session.remaining_ms(active_ms).is_none() {
            self.expiry_queue.push(id);
            return false;
        }
        self.record_own_activity(id, session, active_ms);
        // The entry by `session_ref` may be older than the entry that authenticates requests.
        if let Some(current) = self.cache.get(&id) {
            current.record_activity(active_ms);
        }
        true
    }

    fn own_status(&self, id: &IdHash, session: &CachedSession) -> SessionStatus {
        if let Some(cause) = self.cache.end_cause(id) {
            return SessionStatus::Ended(Some(cause));
        }
        if session.remaining_ms(self.clock.now_ms()).is_none() {
            self.expiry_queue.push(*id);
            return SessionStatus::Expired;
        }
        SessionStatus::ActiveUntil(session.ends_at_ms())
    }

    async fn load_by_ref(
        &self,
        session_ref: &str,
    ) -> Result<Option<(IdHash, Arc<CachedSession>)>, StoreError> {
        let row = self.stores.sessions.find_by_ref(session_ref).await?;
        Ok(row.map(|row| (row.id_hash, self.cache_row(row))))
    }
}

/// The end cause of a session whose ancestor has ended.
fn child_end_cause(cause: Option<EndCause>) -> Option<EndCause> {
    let by_time = cause.filter(|cause| cause.is_expiry());
    by_time.or(Some(EndCause::ParentEnded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock::Clock;
    use crate::sessions::tests::{MINUTE_MS, demo, testbed};
    use berth_store::SessionStore;

    #[tokio::test]
    async fn activity_by_ref_extends_an_active_session_and_revives_no_ended_one() {
        let testbed = testbed().await;
        let (id, live) = testbed.sessions.create(demo()).await.unwrap();
        let created_ms = testbed.clock.now_ms();
        testbed.clock.advance_ms(29 * MINUTE_MS);
        let active_ms = testbed.clock.now_ms();
        testbed
            .sessions
            .record_activity(&live.session_ref, active_ms)
            .await
            .unwrap();
        // Late reports change nothing.
        testbed
            .sessions
            .record_activity(&live.session_ref, created_ms + MINUTE_MS)
            .await
            .unwrap();
        let expiry_ms = active_ms + 30 * MINUTE_MS;
        let status = testbed.sessions.status(&live.session_ref).await.unwrap();
        assert_eq!(status, SessionStatus::ActiveUntil(expiry_ms));
        testbed.sessions.flush().await;
        let row = testbed.store.find(&id.hash()).await.unwrap().unwrap();
        assert_eq!(row.last_seen_at_ms, active_ms);
        testbed.clock.advance_ms(30 * MINUTE_MS);
        assert_eq!(
            testbed.sessions.status(&live.session_ref).await,
            Ok(SessionStatus::Expired)
        );
        let expired_ms = testbed.clock.now_ms();
        testbed
            .sessions
            .record_activity(&live.session_ref, expired_ms)
            .await
            .unwrap();
        assert_eq!(
            testbed.sessions.status(&live.session_ref).await,
            Ok(SessionStatus::Expired)
        );
        testbed.clock.advance_ms(2_000);
        testbed.sessions.process_expiry_queue().await.unwrap();
        let ended_status = SessionStatus::Ended(Some(EndCause::IdleTimeout));
        assert_eq!(
            testbed.sessions.status(&live.session_ref).await,
            Ok(ended_status)
        );
        testbed
            .sessions
            .record_activity(&live.session_ref, expired_ms)
            .await
            .unwrap();
        testbed.sessions.flush().await;
        assert_eq!(testbed.store.find(&id.hash()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_end_cause_is_known_on_the_replica_that_ended_it_and_on_others() {
        let testbed = testbed().await;
        let (_, live) = testbed.sessions.create(demo()).await.unwrap();
        let (name, end_cause) = (&live.session_ref, EndCause::LoginAgain);
        let other = crate::sessions::tests::start_sessions(
            &testbed.store,
            &testbed.clock,
            Default::default(),
        )
        .await;
        assert!(other.is_still_active(&live));
        let status = testbed.sessions.status(name).await;
        assert!(matches!(status, Ok(SessionStatus::ActiveUntil(_))));
        testbed.sessions.end_by_ref(name, end_cause).await.unwrap();
        let ended_status = SessionStatus::Ended(Some(end_cause));
        assert_eq!(testbed.sessions.status(name).await, Ok(ended_status));
        other.on_session_ended(name, &live.runtime, end_cause);
        assert_eq!(other.status(name).await, Ok(ended_status));
    }

    #[tokio::test]
    async fn the_status_is_found_by_ref_after_a_restart_and_a_token_is_not_a_session() {
        let testbed = testbed().await;
        let (id, live) = testbed.sessions.create(demo()).await.unwrap();
        let restarted = crate::sessions::tests::start_sessions(
            &testbed.store,
            &testbed.clock,
            Default::default(),
        )
        .await;
        let expiry_ms = testbed.clock.now_ms() + 30 * MINUTE_MS;
        assert_eq!(
            restarted.status(&live.session_ref).await,
            Ok(SessionStatus::ActiveUntil(expiry_ms))
        );
        restarted
            .end_by_cookie(id.reveal(), EndCause::Logout)
            .await
            .unwrap();
        let ended_status = SessionStatus::Ended(Some(EndCause::Logout));
        assert_eq!(restarted.status(&live.session_ref).await, Ok(ended_status));
        assert_eq!(
            restarted.status("nobody's").await,
            Ok(SessionStatus::Ended(None))
        );
        let name = restarted.keys.token_ref("robot", "a.b.c");
        assert_eq!(
            restarted.status(&name).await,
            Ok(SessionStatus::NotASession)
        );
        assert!(restarted.is_still_active(&LiveSession {
            session_ref: name,
            ..LiveSession::default()
        }));
        assert!(!restarted.is_still_active(&live));
    }
}
