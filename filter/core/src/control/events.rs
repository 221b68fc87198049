//! The feed of events from the placement service: when to poll, from which cursor, and whether events are fresh
//! enough to rely on. Knows no host and no event; times are milliseconds of any clock.

use crate::retry::RetrySchedule;
use berth_api::CURSOR_NOW;

/// Maximum milliseconds between two attempts after failures: short, so that the gateway recovers with the service.
const MAX_BACK_OFF_MS: u64 = 2_000;
/// Milliseconds that a poll may take in addition to its hold time.
pub const BEYOND_HOLD_MS: u32 = 2_000;
/// Milliseconds for which the feed runs on after the last [`Feed::want`].
const KEEP_ALIVE_MS: u64 = 60_000;
/// Maximum bytes of a cursor.
const MAX_CURSOR_BYTES: usize = 256;

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Milliseconds that the service holds a poll while there is no event.
    pub hold_ms: u32,
    /// Milliseconds without a response after which events are no longer fresh.
    pub lost_after_ms: u32,
}

/// The feed of one gateway.
#[derive(Debug)]
pub struct Feed {
    settings: Settings,
    schedule: RetrySchedule,
    cursor: Option<String>,
    last_response: Option<u64>,
    wanted_until: u64,
}

impl Feed {
    /// A feed that does not run yet. `seed`: see [`RetrySchedule::with_jitter`].
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        let timeout = settings
            .hold_ms
            .saturating_add(BEYOND_HOLD_MS.saturating_mul(2));
        let schedule = RetrySchedule::new(0, MAX_BACK_OFF_MS, u64::from(timeout));
        Self {
            settings,
            schedule: schedule.with_jitter(seed),
            cursor: None,
            last_response: None,
            wanted_until: 0,
        }
    }

    /// Starts the feed, or keeps it running for a while.
    pub fn want(&mut self, now: u64) {
        let expiry = now.saturating_add(KEEP_ALIVE_MS);
        self.wanted_until = self.wanted_until.max(expiry);
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_wanted(&self, now: u64) -> bool {
        now < self.wanted_until
    }

    /// Whether the service has responded recently: only then may cached tokens be used.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        let limit = u64::from(self.settings.lost_after_ms);
        self.last_response
            .is_some_and(|last_response| now <= last_response.saturating_add(limit))
    }

    /// Whether the gateway has a cursor: from there on it misses no event.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.cursor.is_some()
    }

    /// Whether to poll now.
    #[must_use]
    pub const fn is_due(&self, now: u64) -> bool {
        self.is_wanted(now) && self.schedule.is_due(now)
    }

    /// Consecutive failures.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.schedule.failures()
    }

    /// Whether the poll in flight has timed out.
    #[must_use]
    pub fn is_timed_out(&self, now: u64) -> bool {
        self.schedule.is_timed_out(now)
    }

    /// A poll is sent: returns its cursor and hold time. The first poll only asks for the end of the log, without a
    /// hold time.
    pub fn started(&mut self, now: u64) -> (String, u32) {
        self.schedule.started(now);
        match &self.cursor {
            Some(cursor) => (cursor.clone(), self.settings.hold_ms),
            None => (CURSOR_NOW.to_owned(), 0),
        }
    }

    /// A poll was answered. False when the cursor is invalid: the poll has failed.
    pub fn answered(&mut self, now: u64, cursor: Option<String>) -> bool {
        let is_valid = |cursor: &String| {
            (1..=MAX_CURSOR_BYTES).contains(&cursor.len())
                && cursor.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let Some(cursor) = cursor.filter(is_valid) else {
            self.failed(now);
            return false;
        };
        self.schedule.succeeded(now);
        self.cursor = Some(cursor);
        self.last_response = Some(now);
        true
    }

    /// The clock has moved back: the age of the last response is unknown.
    pub fn clock_moved_back(&mut self, now: u64) {
        self.last_response = None;
        let expiry = now.saturating_add(KEEP_ALIVE_MS);
        self.wanted_until = self.wanted_until.min(expiry);
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
    fn the_first_poll_gets_a_cursor_and_later_ones_continue() {
        let mut feed = feed();
        assert!(!feed.is_due(0) && !feed.has_begun());
        feed.want(0);
        assert!(feed.is_due(0));
        assert_eq!(feed.started(0), (CURSOR_NOW.to_owned(), 0));
        assert!(!feed.is_due(1));
        assert!(feed.answered(1, Some("a-1".to_owned())) && feed.has_begun());
        assert!(feed.is_due(1));
        assert_eq!(feed.started(1), ("a-1".to_owned(), 5_000));
        assert!(!feed.is_timed_out(9_000) && feed.is_timed_out(9_001));
        assert!(feed.answered(5_001, Some("a-2".to_owned())));
        assert!(feed.is_due(59_999) && !feed.is_due(60_000));
    }

    #[test]
    fn events_are_fresh_for_a_while_after_a_response() {
        let mut feed = feed();
        assert!(!feed.is_fresh(0));
        feed.want(0);
        feed.started(0);
        assert!(!feed.is_fresh(0));
        feed.answered(100, Some("a".to_owned()));
        assert!(feed.is_fresh(10_100) && !feed.is_fresh(10_101));
    }

    #[test]
    fn a_response_without_a_valid_cursor_is_a_failure() {
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
    fn failed_polls_are_retried_within_two_seconds() {
        let mut feed = feed();
        feed.want(0);
        let mut now = 0;
        for _ in 0..8 {
            feed.started(now);
            feed.failed(now);
            now = (now..).find(|t| feed.is_due(*t)).unwrap();
        }
        let expected_ms = 250 + 500 + 1_000 + 5 * 2_000;
        assert!((expected_ms / 2..=expected_ms).contains(&now), "{now}");
    }
}
