//! The feed of events from the placement service: when to poll, from where on, and whether what has been
//! heard is fresh enough to rely on (S36). Knows no host and no event; times are milliseconds of any clock.

use crate::schedule::Schedule;
use berth_api::CURSOR_NOW;

/// Milliseconds between two tries at the most: an outage must not outlast itself.
const MAX_BACK_OFF_MS: u64 = 2_000;
/// Milliseconds that a poll may take beyond its hold.
pub const BEYOND_HOLD_MS: u32 = 2_000;
/// Milliseconds for which the feed goes on when nobody needs it any more.
const KEPT_MS: u64 = 60_000;
/// Bytes of a cursor at the most.
const MAX_CURSOR_BYTES: usize = 256;

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Milliseconds that a poll is held by the service when there is no event.
    pub hold_ms: u32,
    /// Milliseconds without an answer after which the feed counts as lost.
    pub lost_after_ms: u32,
}

/// The feed of one gateway.
#[derive(Debug)]
pub struct Feed {
    settings: Settings,
    schedule: Schedule,
    cursor: Option<String>,
    heard: Option<u64>,
    wanted_until: u64,
}

impl Feed {
    /// A feed that nobody has wanted yet. `seed`: see [`Schedule::with_jitter`].
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        let lost = settings
            .hold_ms
            .saturating_add(BEYOND_HOLD_MS.saturating_mul(2));
        Self {
            settings,
            schedule: Schedule::new(0, MAX_BACK_OFF_MS, u64::from(lost)).with_jitter(seed),
            cursor: None,
            heard: None,
            wanted_until: 0,
        }
    }

    /// Somebody needs it.
    pub fn want(&mut self, now: u64) {
        self.wanted_until = self.wanted_until.max(now.saturating_add(KEPT_MS));
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_wanted(&self, now: u64) -> bool {
        now < self.wanted_until
    }

    /// Whether the service has been heard lately: what is cached may be used.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        let lost = u64::from(self.settings.lost_after_ms);
        self.heard.is_some_and(|at| now <= at.saturating_add(lost))
    }

    /// Whether it is known where in the log the gateway is: from there on, nothing is missed.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.cursor.is_some()
    }

    /// Whether a poll is to be sent now.
    #[must_use]
    pub const fn is_due(&self, now: u64) -> bool {
        self.is_wanted(now) && self.schedule.is_due(now)
    }

    /// How many polls in a row have failed.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.schedule.failures()
    }

    /// Whether nothing will be heard any more of the poll that is under way.
    #[must_use]
    pub fn is_lost(&self, now: u64) -> bool {
        self.schedule.is_lost(now)
    }

    /// A poll is sent: its cursor and hold. The first only asks where the log is, and waits for nothing.
    pub fn started(&mut self, now: u64) -> (String, u32) {
        self.schedule.started(now);
        match &self.cursor {
            Some(cursor) => (cursor.clone(), self.settings.hold_ms),
            None => (CURSOR_NOW.to_owned(), 0),
        }
    }

    /// A poll was answered. False when the answer's cursor is none to go on from: the poll has failed.
    pub fn answered(&mut self, now: u64, cursor: Option<String>) -> bool {
        let plain = |cursor: &String| {
            (1..=MAX_CURSOR_BYTES).contains(&cursor.len())
                && cursor.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let Some(cursor) = cursor.filter(plain) else {
            self.failed(now);
            return false;
        };
        self.schedule.succeeded(now);
        self.cursor = Some(cursor);
        self.heard = Some(now);
        true
    }

    /// The clock has been set back: nobody knows for how long nothing has been heard.
    pub fn set_back(&mut self, now: u64) {
        self.heard = None;
        self.wanted_until = self.wanted_until.min(now.saturating_add(KEPT_MS));
    }

    /// A poll failed.
    pub fn failed(&mut self, now: u64) {
        self.schedule.failed(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn feed() -> Feed {
        let settings = Settings {
            hold_ms: 5_000,
            lost_after_ms: 10_000,
        };
        Feed::new(settings, 0)
    }

    #[test]
    fn begins_now_and_goes_on_from_where_it_is() {
        let mut feed = feed();
        assert!(!feed.is_due(0) && !feed.has_begun());
        feed.want(0);
        assert!(feed.is_due(0));
        assert_eq!(feed.started(0), (CURSOR_NOW.to_owned(), 0));
        assert!(!feed.is_due(1));
        assert!(feed.answered(1, Some("a-1".to_owned())) && feed.has_begun());
        assert!(feed.is_due(1));
        assert_eq!(feed.started(1), ("a-1".to_owned(), 5_000));
        assert!(!feed.is_lost(9_000) && feed.is_lost(9_001));
        assert!(feed.answered(5_001, Some("a-2".to_owned())));
        assert!(feed.is_due(59_999) && !feed.is_due(60_000));
    }

    #[test]
    fn is_fresh_for_a_while_after_an_answer() {
        let mut feed = feed();
        assert!(!feed.is_fresh(0));
        feed.want(0);
        feed.started(0);
        assert!(!feed.is_fresh(0));
        feed.answered(100, Some("a".to_owned()));
        assert!(feed.is_fresh(10_100) && !feed.is_fresh(10_101));
    }

    #[test]
    fn an_answer_without_a_cursor_is_none() {
        for cursor in [
            None,
            Some(String::new()),
            Some("a b".to_owned()),
            Some("x".repeat(257)),
        ] {
            let mut feed = feed();
            feed.want(0);
            feed.started(0);
            assert!(!feed.answered(5, cursor));
            assert!(!feed.is_fresh(5) && !feed.is_due(5) && feed.failures() == 1);
            assert!(feed.is_due(255));
            assert_eq!(feed.started(255).0, CURSOR_NOW);
        }
    }

    #[test]
    fn failures_are_tried_again_within_two_seconds() {
        let mut feed = feed();
        feed.want(0);
        let mut now = 0;
        for _ in 0..8 {
            feed.started(now);
            feed.failed(now);
            now = (now..).find(|t| feed.is_due(*t)).unwrap();
        }
        let longest = 250 + 500 + 1_000 + 5 * 2_000;
        assert!((longest / 2..=longest).contains(&now), "{now}");
    }
}
