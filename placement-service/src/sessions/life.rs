//! The status of a session by its `session_ref`, and activity recorded by it. For gateways, which never learn the
//! session's id. Does not authenticate anyone.

use super::known::Known;
use super::{LiveSession, Sessions};
use berth_scheduler::stream_holder::is_token_ref;
use berth_store::session_id::IdHash;
use berth_store::{EndCause, StoreError};
use std::sync::Arc;

/// The status of what a `session_ref` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Active. It expires at this time if there is no more activity. Milliseconds since the Unix epoch.
    Until(u64),
    /// Expired, and about to be ended.
    Over,
    /// Ended. The cause, if it is still remembered.
    Ended(Option<EndCause>),
    /// The name is that of a bearer token without a session.
    Token,
}

impl Sessions {
    /// The status of a session. Does not count as activity. An expired session is queued, so that it ends soon.
    ///
    /// # Errors
    /// When the store is unavailable, or another login service owns the sessions.
    pub async fn life(&self, session_ref: &str) -> Result<Life, StoreError> {
        if is_token_ref(session_ref) {
            return Ok(Life::Token);
        }
        let in_memory = self.memory.named(session_ref);
        let in_memory = in_memory.and_then(|(id, _)| Some((id, self.in_memory(&id)?)));
        let found = match in_memory {
            Some(found) => Some(found),
            None => self.by_name(session_ref).await?,
        };
        let Some((id, known)) = found else {
            let id = self.memory.id_of(session_ref);
            let cause = self.memory.has_ended_anywhere(id.as_ref(), session_ref);
            return Ok(Life::Ended(cause));
        };
        let mut life = self.life_of(&id, &known);
        for ancestor in &known.ancestors {
            let of_ancestor = match self.in_memory(ancestor) {
                Some(known) => self.life_of(ancestor, &known),
                None => match self.stores.sessions.find(ancestor).await? {
                    Some(row) => self.life_of(ancestor, &self.remember(row)),
                    None => Life::Ended(None),
                },
            };
            life = match (life, of_ancestor) {
                (Life::Until(own), Life::Until(theirs)) => Life::Until(own.min(theirs)),
                // The end of the ancestor ends this session too.
                (Life::Until(_), Life::Ended(cause)) => Life::Ended(of_child(cause)),
                (Life::Until(_), other) => other,
                (own, _) => own,
            };
        }
        Ok(life)
    }

    /// Whether a session that was resolved a moment ago is still active, as far as this process knows.
    #[must_use]
    pub fn still_lives(&self, session: &LiveSession) -> bool {
        let id = self.memory.id_of(&session.session_ref);
        let ended = self
            .memory
            .has_ended_anywhere(id.as_ref(), &session.session_ref);
        ended.is_none()
    }

    /// Records activity of the session and its ancestors at that time. Does nothing if the session has ended or the
    /// name is not a session's.
    ///
    /// # Errors
    /// When the store is unavailable: the caller must retry.
    pub async fn was_active(&self, session_ref: &str, seen_ms: u64) -> Result<(), StoreError> {
        if is_token_ref(session_ref) {
            return Ok(());
        }
        let named = self.memory.named(session_ref);
        // If it has expired according to the cache, another replica may have recorded later activity.
        let found = match named.filter(|(_, known)| known.remaining_ms(seen_ms).is_some()) {
            Some(found) => Some(found),
            None => match self.by_name(session_ref).await {
                // The login service that owns the sessions tracks activity itself.
                Err(StoreError::ReadOnly) => None,
                found => found?,
            },
        };
        let Some((id, known)) = found else {
            return Ok(());
        };
        if !self.note_active(id, &known, seen_ms) {
            return Ok(());
        }
        for ancestor in &known.ancestors {
            let known = match self.in_memory(ancestor) {
                Some(known) => known,
                None => match self.stores.sessions.find(ancestor).await? {
                    Some(row) => self.remember(row),
                    None => continue,
                },
            };
            self.note_active(*ancestor, &known, seen_ms);
        }
        Ok(())
    }

    /// `false` when the session has ended or expired: late activity does not make it active again.
    fn note_active(&self, id: IdHash, known: &Known, seen_ms: u64) -> bool {
        if self.memory.has_ended(&id).is_some() {
            return false;
        }
        if known.remaining_ms(seen_ms).is_none() {
            self.overdue.note(id);
            return false;
        }
        self.note(id, known, seen_ms);
        // The entry by `session_ref` may be older than the entry that authenticates requests.
        if let Some(current) = self.memory.get(&id) {
            current.seen(seen_ms);
        }
        true
    }

    fn life_of(&self, id: &IdHash, known: &Known) -> Life {
        if let Some(cause) = self.memory.has_ended(id) {
            return Life::Ended(Some(cause));
        }
        if known.remaining_ms(self.clock.now_ms()).is_none() {
            self.overdue.note(*id);
            return Life::Over;
        }
        Life::Until(known.ends_at_ms())
    }

    async fn by_name(&self, session_ref: &str) -> Result<Option<(IdHash, Arc<Known>)>, StoreError> {
        let row = self.stores.sessions.find_by_ref(session_ref).await?;
        Ok(row.map(|row| (row.id_hash, self.remember(row))))
    }
}

/// The end cause of a session whose ancestor has ended.
fn of_child(cause: Option<EndCause>) -> Option<EndCause> {
    let by_time = cause.filter(|cause| cause.is_by_time());
    by_time.or(Some(EndCause::ParentEnded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock::Clock;
    use crate::sessions::tests::{MINUTE_MS, demo, world};
    use berth_store::SessionStore;

    #[tokio::test]
    async fn activity_by_ref_extends_an_active_session_and_revives_no_ended_one() {
        let w = world().await;
        let (id, live) = w.sessions.begin(demo()).await.unwrap();
        let begun = w.clock.now_ms();
        w.clock.advance_ms(29 * MINUTE_MS);
        let seen = w.clock.now_ms();
        w.sessions
            .was_active(&live.session_ref, seen)
            .await
            .unwrap();
        // Late reports change nothing.
        w.sessions
            .was_active(&live.session_ref, begun + MINUTE_MS)
            .await
            .unwrap();
        let until = seen + 30 * MINUTE_MS;
        let life = w.sessions.life(&live.session_ref).await.unwrap();
        assert_eq!(life, Life::Until(until));
        w.sessions.flush().await;
        let row = w.store.find(&id.hash()).await.unwrap().unwrap();
        assert_eq!(row.last_seen_at_ms, seen);
        w.clock.advance_ms(30 * MINUTE_MS);
        assert_eq!(w.sessions.life(&live.session_ref).await, Ok(Life::Over));
        let late = w.clock.now_ms();
        w.sessions
            .was_active(&live.session_ref, late)
            .await
            .unwrap();
        assert_eq!(w.sessions.life(&live.session_ref).await, Ok(Life::Over));
        w.clock.advance_ms(2_000);
        w.sessions.end_overdue().await.unwrap();
        let ended = Life::Ended(Some(EndCause::IdleTimeout));
        assert_eq!(w.sessions.life(&live.session_ref).await, Ok(ended));
        w.sessions
            .was_active(&live.session_ref, late)
            .await
            .unwrap();
        w.sessions.flush().await;
        assert_eq!(w.store.find(&id.hash()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_end_cause_is_known_on_the_replica_that_ended_it_and_on_others() {
        let w = world().await;
        let (_, live) = w.sessions.begin(demo()).await.unwrap();
        let (name, again) = (&live.session_ref, EndCause::LoginAgain);
        let other = crate::sessions::tests::start(&w.store, &w.clock, Default::default()).await;
        assert!(other.still_lives(&live));
        let lives = w.sessions.life(name).await;
        assert!(matches!(lives, Ok(Life::Until(_))));
        w.sessions.end_ref(name, again).await.unwrap();
        let ended = Life::Ended(Some(again));
        assert_eq!(w.sessions.life(name).await, Ok(ended));
        other.hear_of_end(name, &live.runtime, again);
        assert_eq!(other.life(name).await, Ok(ended));
    }

    #[tokio::test]
    async fn the_status_is_found_by_ref_after_a_restart_and_a_token_is_not_a_session() {
        let w = world().await;
        let (id, live) = w.sessions.begin(demo()).await.unwrap();
        let again = crate::sessions::tests::start(&w.store, &w.clock, Default::default()).await;
        let until = w.clock.now_ms() + 30 * MINUTE_MS;
        assert_eq!(again.life(&live.session_ref).await, Ok(Life::Until(until)));
        again.end(id.reveal(), EndCause::Logout).await.unwrap();
        let ended = Life::Ended(Some(EndCause::Logout));
        assert_eq!(again.life(&live.session_ref).await, Ok(ended));
        assert_eq!(again.life("nobody's").await, Ok(Life::Ended(None)));
        let name = again.keys.token_ref("robot", "a.b.c");
        assert_eq!(again.life(&name).await, Ok(Life::Token));
        assert!(again.still_lives(&LiveSession {
            session_ref: name,
            ..LiveSession::default()
        }));
        assert!(!again.still_lives(&live));
    }
}
