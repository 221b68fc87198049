//! The recent placements of each login session, which the session itself can read (`GET /session/placements`).
//! Bounded in sessions, entries and text lengths; keyed by `session_ref`, never by the session's id.

use moka::sync::Cache;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use utoipa::ToSchema;

/// Maximum number of sessions; the least recently used are evicted first.
const SESSIONS: u64 = 10_000;
/// Maximum number of placements per session.
const PER_SESSION: usize = 50;
/// Maximum number of characters of a name from a client.
const NAME: usize = 128;
/// How long the placements of a session are kept after the last one.
const TTL: Duration = Duration::from_secs(3600);

/// A completed placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RecentPlacement {
    /// The client's name of its tab.
    pub tab: Option<String>,
    /// The document that was opened.
    pub document: Option<String>,
    /// The engine's name.
    pub engine: String,
    /// The pool's name.
    pub pool: String,
    /// Unix seconds.
    pub since: u64,
    /// The id of the stream, as in the response to the placement.
    pub stream: String,
}

/// The recent placements of all sessions.
#[derive(Debug)]
pub(super) struct Recent(Cache<String, Arc<Mutex<VecDeque<RecentPlacement>>>>);

impl Default for Recent {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(SESSIONS)
                .time_to_idle(TTL)
                .build(),
        )
    }
}

impl Recent {
    /// Records a placement.
    pub(super) fn note(&self, session_ref: &str, mut placement: RecentPlacement) {
        placement.tab = placement.tab.as_deref().map(shortened);
        placement.document = placement.document.as_deref().map(shortened);
        let list = match self.0.get(session_ref) {
            Some(list) => list,
            None => self.0.get_with(session_ref.to_owned(), Arc::default),
        };
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= PER_SESSION {
            list.pop_front();
        }
        list.push_back(placement);
    }

    /// The placements of a session, newest first.
    #[must_use]
    pub(super) fn of(&self, session_ref: &str) -> Vec<RecentPlacement> {
        let Some(list) = self.0.get(session_ref) else {
            return Vec::new();
        };
        let list = list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().rev().cloned().collect()
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(since: u64) -> RecentPlacement {
        RecentPlacement {
            tab: None,
            document: None,
            engine: "e".into(),
            pool: "p".into(),
            since,
            stream: "s".into(),
        }
    }

    #[test]
    fn long_names_are_truncated() {
        let recent = Recent::default();
        let mut long = placement(1);
        long.tab = Some("é".repeat(60_000));
        recent.note("a", long);
        assert_eq!(recent.of("a")[0].tab, Some("é".repeat(NAME)));
    }

    #[test]
    fn each_session_has_its_latest_fifty_placements_newest_first() {
        let recent = Recent::default();
        for since in 0..60 {
            recent.note("a", placement(since));
        }
        recent.note("b", placement(7));
        let times: Vec<_> = recent.of("a").iter().map(|p| p.since).collect();
        assert_eq!(times, (10..60).rev().collect::<Vec<_>>());
        assert_eq!(recent.of("b"), [placement(7)]);
        assert!(recent.of("c").is_empty());
    }
}
