//! Whether a session lives and until when, and that it was active, for those who know it by its public name
//! only: the gateways that have its streams.

use super::known::Known;
use super::{LiveSession, Sessions};
use berth_scheduler::stream_holder::is_token_ref;
use berth_store::session_id::IdHash;
use berth_store::{EndCause, StoreError};
use std::sync::Arc;

/// What is known of a session by its public name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It lives, and ends then if nothing more happens. Milliseconds since the Unix epoch.
    Until(u64),
    /// It has run out of time, and is about to be ended.
    Over,
    /// It has ended; why, as far as that is remembered.
    Ended(Option<EndCause>),
    /// The name is a token's that belongs to no session.
    Token,
}

impl Sessions {
    /// Whether a session lives. Not an activity. A session that has run out of time is ended soon.
    ///
    /// # Errors
    /// When the store does not answer, or sessions are kept by somebody else.
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
                // Its end takes this one along.
                (Life::Until(_), Life::Ended(cause)) => Life::Ended(of_child(cause)),
                (Life::Until(_), other) => other,
                (own, _) => own,
            };
        }
        Ok(life)
    }

    /// Whether a session that was resolved a moment ago still lives, as far as this process knows.
    #[must_use]
    pub fn still_lives(&self, session: &LiveSession) -> bool {
        let id = self.memory.id_of(&session.session_ref);
        let ended = self
            .memory
            .has_ended_anywhere(id.as_ref(), &session.session_ref);
        ended.is_none()
    }

    /// The session was active then, and those that led to it. Nothing when it is over, or no session.
    ///
    /// # Errors
    /// When the store does not answer: it has to be said again.
    pub async fn was_active(&self, session_ref: &str, seen_ms: u64) -> Result<(), StoreError> {
        if is_token_ref(session_ref) {
            return Ok(());
        }
        let named = self.memory.named(session_ref);
        // It may have been active elsewhere.
        let found = match named.filter(|(_, known)| known.remaining_ms(seen_ms).is_some()) {
            Some(found) => Some(found),
            None => match self.by_name(session_ref).await {
                // Whoever keeps the sessions knows by other means.
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

    /// `false` when it is over: what comes too late brings nothing back.
    fn note_active(&self, id: IdHash, known: &Known, seen_ms: u64) -> bool {
        if self.memory.has_ended(&id).is_some() {
            return false;
        }
        if known.remaining_ms(seen_ms).is_none() {
            self.overdue.note(id);
            return false;
        }
        self.note(id, known, seen_ms);
        // What is known by name may be older than what lets somebody in.
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

/// Why a session ends whose ancestor has ended.
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
    async fn activity_by_name_keeps_a_session_and_brings_none_back() {
        let w = world().await;
        let (id, live) = w.sessions.begin(demo()).await.unwrap();
        let begun = w.clock.now_ms();
        w.clock.advance_ms(29 * MINUTE_MS);
        let seen = w.clock.now_ms();
        w.sessions
            .was_active(&live.session_ref, seen)
            .await
            .unwrap();
        // Told late, and again.
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
    async fn why_a_session_ended_is_known_wherever_it_ended() {
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
    async fn a_session_is_known_by_its_name_after_a_restart_and_a_token_is_none() {
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
