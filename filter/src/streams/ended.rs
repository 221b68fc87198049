//! Sessions that have ended lately: an answer of the placement service that was on its way while its
//! session ended must open nothing any more. Bounded in time and in number.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

/// Milliseconds for which an end is remembered: longer than any callout may take.
const KEPT_MS: u64 = 60_000;
/// Ends that are remembered at the most; of more, the oldest are forgotten.
const MAX_KEPT: usize = 20_000;

/// The sessions, by their `session_ref`.
#[derive(Debug, Default)]
pub struct Ended {
    known: HashSet<Rc<str>>,
    order: VecDeque<(u64, Rc<str>)>,
}

impl Ended {
    /// Notes an end.
    pub fn note(&mut self, session_ref: &str, now: u64) {
        self.forget(now);
        let session: Rc<str> = session_ref.into();
        if self.known.insert(Rc::clone(&session)) {
            self.order.push_back((now, session));
        }
    }

    /// Whether this session has ended.
    #[must_use]
    pub fn has(&self, session_ref: &str) -> bool {
        self.known.contains(session_ref)
    }

    /// Forgets what is too old.
    pub fn forget(&mut self, now: u64) {
        while let Some((at, _)) = self.order.front() {
            if self.order.len() < MAX_KEPT && now < at.saturating_add(KEPT_MS) {
                break;
            }
            if let Some((_, session)) = self.order.pop_front() {
                self.known.remove(&session);
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
    fn remembers_for_a_while_and_not_without_limit() {
        let mut ended = Ended::default();
        ended.note("a", 0);
        ended.note("a", 10);
        ended.note("b", KEPT_MS - 1);
        assert!(ended.has("a") && ended.has("b") && !ended.has("c"));
        ended.forget(KEPT_MS);
        assert!(!ended.has("a") && ended.has("b"));
        for n in 0..MAX_KEPT * 2 {
            ended.note(&n.to_string(), KEPT_MS);
        }
        assert!(ended.order.len() <= MAX_KEPT && ended.known.len() == ended.order.len());
        assert!(ended.has(&(MAX_KEPT * 2 - 1).to_string()) && !ended.has("b"));
    }
}
