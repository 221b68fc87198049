//! The plain requests of one worker that are at an engine. A request ends with its session: a long response, such as a
//! stream of server-sent events, must not outlive the right to it. Knows no host; times are milliseconds since 1970.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// One request.
#[derive(Debug)]
struct PlacedRequest {
    session_ref: Rc<str>,
    expires_at: u64,
}

/// The requests, by the id of their context in the host.
#[derive(Debug)]
pub struct PlacedRequests {
    open: HashMap<u32, PlacedRequest>,
    /// No session of them expires earlier.
    earliest_expiry: u64,
    /// Requests to reset.
    ended: BTreeSet<u32>,
}

impl Default for PlacedRequests {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            earliest_expiry: u64::MAX,
            ended: BTreeSet::new(),
        }
    }
}

impl PlacedRequests {
    /// A request was sent to its engine. Its session expires at `expires_at`.
    pub fn begin(&mut self, id: u32, session_ref: Rc<str>, expires_at: u64) {
        self.earliest_expiry = self.earliest_expiry.min(expires_at);
        let request = PlacedRequest {
            session_ref,
            expires_at,
        };
        self.open.insert(id, request);
    }

    /// A request has ended.
    pub fn end(&mut self, id: u32) {
        if self.open.remove(&id).is_some() {
            self.ended.remove(&id);
        }
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether some have to be reset.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// These sessions have ended.
    pub fn end_sessions(&mut self, session_refs: &[String]) {
        if session_refs.is_empty() || self.open.is_empty() {
            return;
        }
        let ended: HashSet<&str> = session_refs.iter().map(String::as_str).collect();
        let open = self.open.iter();
        let of_ended = open.filter(|(_, request)| ended.contains(&*request.session_ref));
        self.ended.extend(of_ended.map(|(id, _)| *id));
    }

    /// Up to `max` requests to reset now, each once.
    pub fn due(&mut self, now: u64, max: usize) -> Vec<u32> {
        if now >= self.earliest_expiry {
            let open = self.open.iter();
            let expired = open.filter(|(_, request)| now >= request.expires_at);
            self.ended.extend(expired.map(|(id, _)| *id));
            let later = self.open.values().map(|request| request.expires_at);
            let later = later.filter(|expires_at| now < *expires_at);
            self.earliest_expiry = later.min().unwrap_or(u64::MAX);
        }
        let due: Vec<u32> = self.ended.iter().take(max).copied().collect();
        for id in &due {
            self.end(*id);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn requests() -> PlacedRequests {
        let mut requests = PlacedRequests::default();
        for (id, session, expires_at) in [(1, "a", 1_000), (2, "b", 2_000), (3, "a", 2_000)] {
            requests.begin(id, session.into(), expires_at);
        }
        requests
    }

    #[test]
    fn requests_end_with_their_session() {
        let mut requests = requests();
        assert!(requests.due(0, 10).is_empty());
        requests.end_sessions(&["a".to_owned(), "c".to_owned()]);
        assert!(requests.has_ended());
        assert_eq!(requests.due(0, 1), [1]);
        assert_eq!(requests.due(0, 10), [3]);
        assert!(requests.due(0, 10).is_empty());
        assert!(!requests.has_ended() && !requests.is_empty());
    }

    #[test]
    fn requests_end_when_their_session_expires() {
        let mut requests = requests();
        assert!(requests.due(999, 10).is_empty());
        assert_eq!(requests.due(1_000, 10), [1]);
        assert!(requests.due(1_999, 10).is_empty());
        assert_eq!(requests.due(2_000, 10), [2, 3]);
        assert!(requests.is_empty());
    }

    #[test]
    fn a_request_that_has_ended_is_not_reset() {
        let mut requests = requests();
        requests.end_sessions(&["a".to_owned()]);
        requests.end(1);
        assert_eq!(requests.due(0, 10), [3]);
        requests.end(2);
        assert!(requests.is_empty());
        assert!(requests.due(9_000, 10).is_empty());
    }
}
