//! The recent placements of each login session, which the session itself can read (`GET /session/placements`).
//! Bounded in sessions, entries and text lengths; keyed by `session_ref`, never by the session's id.

use moka::sync::Cache;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// Maximum number of sessions; the least recently used are evicted first.
const MAX_SESSIONS: u64 = 10_000;
/// Maximum number of placements per session.
const MAX_PER_SESSION: usize = 50;
/// Maximum number of characters of a name from a client.
const MAX_NAME_CHARS: usize = 128;
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
pub(super) struct RecentPlacements(Cache<String, Arc<Mutex<VecDeque<RecentPlacement>>>>);

impl Default for RecentPlacements {
    fn default() -> Self {
        Self(
            Cache::builder()
                .max_capacity(MAX_SESSIONS)
                .time_to_idle(TTL)
                .build(),
        )
    }
}

impl RecentPlacements {
    /// Records a placement.
    pub(super) fn record(&self, session_ref: &str, mut placement: RecentPlacement) {
        placement.tab = placement.tab.as_deref().map(truncate);
        placement.document = placement.document.as_deref().map(truncate);
        let list = match self.0.get(session_ref) {
            Some(list) => list,
            None => self.0.get_with(session_ref.to_owned(), Arc::default),
        };
        let mut list = list.lock();
        if list.len() >= MAX_PER_SESSION {
            list.pop_front();
        }
        list.push_back(placement);
    }

    /// The placements of a session, newest first.
    #[must_use]
    pub(super) fn latest(&self, session_ref: &str) -> Vec<RecentPlacement> {
        let Some(list) = self.0.get(session_ref) else {
            return Vec::new();
        };
        let list = list.lock();
        list.iter().rev().cloned().collect()
    }
}

fn truncate(name: &str) -> String {
    name.chars().take(MAX_NAME_CHARS).collect()
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
        let recent = RecentPlacements::default();
        let mut long_names = placement(1);
        long_names.tab = Some("é".repeat(60_000));
        recent.record("a", long_names);
        assert_eq!(recent.latest("a")[0].tab, Some("é".repeat(MAX_NAME_CHARS)));
    }

    #[test]
    fn each_session_has_its_latest_fifty_placements_newest_first() {
        let recent = RecentPlacements::default();
        for since in 0..60 {
            recent.record("a", placement(since));
        }
        recent.record("b", placement(7));
        let placed_at: Vec<_> = recent.latest("a").iter().map(|p| p.since).collect();
        assert_eq!(placed_at, (10..60).rev().collect::<Vec<_>>());
        assert_eq!(recent.latest("b"), [placement(7)]);
        assert!(recent.latest("c").is_empty());
    }
}
