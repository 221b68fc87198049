//! Sessions that have ended recently. A response of the placement service that was in flight while its session ended
//! must not open a stream. Bounded in time and in number.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

/// Milliseconds that a session is remembered: longer than any call may take.
const RETENTION_MS: u64 = 60_000;
/// Maximum remembered sessions; beyond that the oldest are removed.
const MAX_SESSIONS: usize = 20_000;

/// The sessions, by `session_ref`.
#[derive(Debug, Default)]
pub struct EndedSessions {
    sessions: HashSet<Rc<str>>,
    order: VecDeque<(u64, Rc<str>)>,
}

impl EndedSessions {
    /// Adds a session that has ended.
    pub fn insert(&mut self, session_ref: &str, now: u64) {
        self.remove_expired(now);
        let session: Rc<str> = session_ref.into();
        if self.sessions.insert(Rc::clone(&session)) {
            self.order.push_back((now, session));
        }
    }

    /// Whether this session has ended.
    #[must_use]
    pub fn contains(&self, session_ref: &str) -> bool {
        self.sessions.contains(session_ref)
    }

    /// Removes sessions whose retention has passed.
    pub fn remove_expired(&mut self, now: u64) {
        while let Some((ended_at, _)) = self.order.front() {
            if self.order.len() < MAX_SESSIONS && now < ended_at.saturating_add(RETENTION_MS) {
                break;
            }
            if let Some((_, session)) = self.order.pop_front() {
                self.sessions.remove(&session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn retention_is_bounded_in_time_and_number() {
        let mut ended_sessions = EndedSessions::default();
        ended_sessions.insert("a", 0);
        ended_sessions.insert("a", 10);
        ended_sessions.insert("b", RETENTION_MS - 1);
        assert!(
            ended_sessions.contains("a")
                && ended_sessions.contains("b")
                && !ended_sessions.contains("c")
        );
        ended_sessions.remove_expired(RETENTION_MS);
        assert!(!ended_sessions.contains("a") && ended_sessions.contains("b"));
        for n in 0..MAX_SESSIONS * 2 {
            ended_sessions.insert(&n.to_string(), RETENTION_MS);
        }
        assert!(
            ended_sessions.order.len() <= MAX_SESSIONS
                && ended_sessions.sessions.len() == ended_sessions.order.len()
        );
        assert!(
            ended_sessions.contains(&(MAX_SESSIONS * 2 - 1).to_string())
                && !ended_sessions.contains("b")
        );
    }
}
