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
        let found = match in_memory {
            Some(found) => Some(found),
            None => self.load_by_ref(session_ref).await?,
        };
        let Some((id, known)) = found else {
            let id = self.cache.id_by_ref(session_ref);
            let cause = self.cache.end_cause_by_id_or_ref(id.as_ref(), session_ref);
            return Ok(SessionStatus::Ended(cause));
        };
        let mut life = self.own_status(&id, &known);
        for ancestor in &known.ancestors {
            let of_ancestor = match self.get_cached(ancestor) {
                Some(known) => self.own_status(ancestor, &known),
                None => match self.stores.sessions.find(ancestor).await? {
                    Some(row) => self.own_status(ancestor, &self.cache_row(row)),
                    None => SessionStatus::Ended(None),
                },
            };
            life = match (life, of_ancestor) {
                (SessionStatus::ActiveUntil(own), SessionStatus::ActiveUntil(theirs)) => {
                    SessionStatus::ActiveUntil(own.min(theirs))
                }
                // The end of the ancestor ends this session too.
                (SessionStatus::ActiveUntil(_), SessionStatus::Ended(cause)) => {
                    SessionStatus::Ended(child_end_cause(cause))
                }
                (SessionStatus::ActiveUntil(_), other) => other,
                (own, _) => own,
            };
        }
        Ok(life)
    }

    /// Whether a session that was resolved a moment ago is still active, as far as this process knows.
    #[must_use]
    pub fn is_still_active(&self, session: &LiveSession) -> bool {
        let id = self.cache.id_by_ref(&session.session_ref);
        let ended = self
            .cache
            .end_cause_by_id_or_ref(id.as_ref(), &session.session_ref);
        ended.is_none()
    }

    /// Records activity of the session and its ancestors at that time. Does nothing if the session has ended or the
    /// name is not a session's.
    ///
    /// # Errors
    /// When the store is unavailable: the caller must retry.
    pub async fn record_activity(&self, session_ref: &str, seen_ms: u64) -> Result<(), StoreError> {
        if is_token_ref(session_ref) {
            return Ok(());
        }
        let named = self.cache.get_by_ref(session_ref);
        // If it has expired according to the cache, another replica may have recorded later activity.
        let found = match named.filter(|(_, known)| known.remaining_ms(seen_ms).is_some()) {
            Some(found) => Some(found),
            None => match self.load_by_ref(session_ref).await {
                // The login service that owns the sessions tracks activity itself.
                Err(StoreError::ReadOnly) => None,
                found => found?,
            },
        };
        let Some((id, known)) = found else {
            return Ok(());
        };
        if !self.record_unless_ended(id, &known, seen_ms) {
            return Ok(());
        }
        for ancestor in &known.ancestors {
            let known = match self.get_cached(ancestor) {
                Some(known) => known,
                None => match self.stores.sessions.find(ancestor).await? {
                    Some(row) => self.cache_row(row),
                    None => continue,
                },
            };
            self.record_unless_ended(*ancestor, &known, seen_ms);
        }
        Ok(())
    }

    /// `false` when the session has ended or expired: late activity does not make it active again.
    fn record_unless_ended(&self, id: IdHash, known: &CachedSession, seen_ms: u64) -> bool {
        if self.cache.end_cause(&id).is_some() {
            return false;
        }
        if known.remaining_ms(seen_ms).is_none() {
            self.expiry_queue.push(id);
            return false;
        }
        self.record_own_activity(id, known, seen_ms);
        // The entry by `session_ref` may be older than the entry that authenticates requests.
        if let Some(current) = self.cache.get(&id) {
            current.record_activity(seen_ms);
        }
        true
    }

    fn own_status(&self, id: &IdHash, known: &CachedSession) -> SessionStatus {
        if let Some(cause) = self.cache.end_cause(id) {
            return SessionStatus::Ended(Some(cause));
        }
        if known.remaining_ms(self.clock.now_ms()).is_none() {
            self.expiry_queue.push(*id);
            return SessionStatus::Expired;
        }
        SessionStatus::ActiveUntil(known.ends_at_ms())
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
        let w = testbed().await;
        let (id, live) = w.sessions.create(demo()).await.unwrap();
        let begun = w.clock.now_ms();
        w.clock.advance_ms(29 * MINUTE_MS);
        let seen = w.clock.now_ms();
        w.sessions
            .record_activity(&live.session_ref, seen)
            .await
            .unwrap();
        // Late reports change nothing.
        w.sessions
            .record_activity(&live.session_ref, begun + MINUTE_MS)
            .await
            .unwrap();
        let until = seen + 30 * MINUTE_MS;
        let life = w.sessions.status(&live.session_ref).await.unwrap();
        assert_eq!(life, SessionStatus::ActiveUntil(until));
        w.sessions.flush().await;
        let row = w.store.find(&id.hash()).await.unwrap().unwrap();
        assert_eq!(row.last_seen_at_ms, seen);
        w.clock.advance_ms(30 * MINUTE_MS);
        assert_eq!(
            w.sessions.status(&live.session_ref).await,
            Ok(SessionStatus::Expired)
        );
        let late = w.clock.now_ms();
        w.sessions
            .record_activity(&live.session_ref, late)
            .await
            .unwrap();
        assert_eq!(
            w.sessions.status(&live.session_ref).await,
            Ok(SessionStatus::Expired)
        );
        w.clock.advance_ms(2_000);
        w.sessions.process_expiry_queue().await.unwrap();
        let ended = SessionStatus::Ended(Some(EndCause::IdleTimeout));
        assert_eq!(w.sessions.status(&live.session_ref).await, Ok(ended));
        w.sessions
            .record_activity(&live.session_ref, late)
            .await
            .unwrap();
        w.sessions.flush().await;
        assert_eq!(w.store.find(&id.hash()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_end_cause_is_known_on_the_replica_that_ended_it_and_on_others() {
        let w = testbed().await;
        let (_, live) = w.sessions.create(demo()).await.unwrap();
        let (name, again) = (&live.session_ref, EndCause::LoginAgain);
        let other =
            crate::sessions::tests::start_sessions(&w.store, &w.clock, Default::default()).await;
        assert!(other.is_still_active(&live));
        let lives = w.sessions.status(name).await;
        assert!(matches!(lives, Ok(SessionStatus::ActiveUntil(_))));
        w.sessions.end_by_ref(name, again).await.unwrap();
        let ended = SessionStatus::Ended(Some(again));
        assert_eq!(w.sessions.status(name).await, Ok(ended));
        other.on_session_ended(name, &live.runtime, again);
        assert_eq!(other.status(name).await, Ok(ended));
    }

    #[tokio::test]
    async fn the_status_is_found_by_ref_after_a_restart_and_a_token_is_not_a_session() {
        let w = testbed().await;
        let (id, live) = w.sessions.create(demo()).await.unwrap();
        let again =
            crate::sessions::tests::start_sessions(&w.store, &w.clock, Default::default()).await;
        let until = w.clock.now_ms() + 30 * MINUTE_MS;
        assert_eq!(
            again.status(&live.session_ref).await,
            Ok(SessionStatus::ActiveUntil(until))
        );
        again
            .end_by_cookie(id.reveal(), EndCause::Logout)
            .await
            .unwrap();
        let ended = SessionStatus::Ended(Some(EndCause::Logout));
        assert_eq!(again.status(&live.session_ref).await, Ok(ended));
        assert_eq!(
            again.status("nobody's").await,
            Ok(SessionStatus::Ended(None))
        );
        let name = again.keys.token_ref("robot", "a.b.c");
        assert_eq!(again.status(&name).await, Ok(SessionStatus::NotASession));
        assert!(again.is_still_active(&LiveSession {
            session_ref: name,
            ..LiveSession::default()
        }));
        assert!(!again.is_still_active(&live));
    }
}
