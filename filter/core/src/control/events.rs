//! The subscription to the events of the placement service: when to poll, from which cursor, and whether events are fresh
//! enough to rely on. Knows no host and no event; times are milliseconds of any clock.

use crate::retry::RetrySchedule;
use berth_api::CURSOR_NOW;

/// Maximum milliseconds between two attempts after failures: short, so that the gateway recovers with the service.
const MAX_BACK_OFF_MS: u64 = 2_000;
/// Milliseconds that a poll may take in addition to its timeout.
pub const POLL_MARGIN_MS: u32 = 2_000;
/// Milliseconds for which polling continues after the last [`EventSubscription::keep_alive`].
const KEEP_ALIVE_MS: u64 = 60_000;
/// Maximum bytes of a cursor.
const MAX_CURSOR_BYTES: usize = 256;

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Milliseconds that the service holds a poll while there is no event.
    pub poll_timeout_ms: u32,
    /// Milliseconds without a response after which events are no longer fresh.
    pub stale_after_ms: u32,
}

/// The event subscription of one gateway.
#[derive(Debug)]
pub struct EventSubscription {
    settings: Settings,
    schedule: RetrySchedule,
    cursor: Option<String>,
    last_response: Option<u64>,
    active_until: u64,
}

impl EventSubscription {
    /// A subscription that does not poll yet. `seed`: see [`RetrySchedule::with_jitter`].
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        let timeout = settings
            .poll_timeout_ms
            .saturating_add(POLL_MARGIN_MS.saturating_mul(2));
        let schedule = RetrySchedule::new(0, MAX_BACK_OFF_MS, u64::from(timeout));
        Self {
            settings,
            schedule: schedule.with_jitter(seed),
            cursor: None,
            last_response: None,
            active_until: 0,
        }
    }

    /// Starts polling, or continues it for a while.
    pub fn keep_alive(&mut self, now: u64) {
        let expiry = now.saturating_add(KEEP_ALIVE_MS);
        self.active_until = self.active_until.max(expiry);
    }

    /// Whether it polls.
    #[must_use]
    pub const fn is_active(&self, now: u64) -> bool {
        now < self.active_until
    }

    /// Whether the service has responded recently: only then may cached tokens be used.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        let limit = u64::from(self.settings.stale_after_ms);
        self.last_response
            .is_some_and(|last_response| now <= last_response.saturating_add(limit))
    }

    /// Whether the gateway has a cursor: from there on it misses no event.
    #[must_use]
    pub const fn is_subscribed(&self) -> bool {
        self.cursor.is_some()
    }

    /// Whether to poll now.
    #[must_use]
    pub const fn is_due(&self, now: u64) -> bool {
        self.is_active(now) && self.schedule.is_due(now)
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

    /// A poll is sent: returns its cursor and timeout. The first poll only reads the end of the log, with timeout 0.
    pub fn started(&mut self, now: u64) -> (String, u32) {
        self.schedule.started(now);
        match &self.cursor {
            Some(cursor) => (cursor.clone(), self.settings.poll_timeout_ms),
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
        self.active_until = self.active_until.min(expiry);
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

    fn events() -> EventSubscription {
        let settings = Settings {
            poll_timeout_ms: 5_000,
            stale_after_ms: 10_000,
        };
        EventSubscription::new(settings, 0)
    }

    #[test]
    fn the_first_poll_gets_a_cursor_and_later_ones_continue() {
        let mut events = events();
        assert!(!events.is_due(0) && !events.is_subscribed());
        events.keep_alive(0);
        assert!(events.is_due(0));
        assert_eq!(events.started(0), (CURSOR_NOW.to_owned(), 0));
        assert!(!events.is_due(1));
        assert!(events.answered(1, Some("a-1".to_owned())) && events.is_subscribed());
        assert!(events.is_due(1));
        assert_eq!(events.started(1), ("a-1".to_owned(), 5_000));
        assert!(!events.is_timed_out(9_000) && events.is_timed_out(9_001));
        assert!(events.answered(5_001, Some("a-2".to_owned())));
        assert!(events.is_due(59_999) && !events.is_due(60_000));
    }

    #[test]
    fn events_are_fresh_for_a_while_after_a_response() {
        let mut events = events();
        assert!(!events.is_fresh(0));
        events.keep_alive(0);
        events.started(0);
        assert!(!events.is_fresh(0));
        events.answered(100, Some("a".to_owned()));
        assert!(events.is_fresh(10_100) && !events.is_fresh(10_101));
    }

    #[test]
    fn a_response_without_a_valid_cursor_is_a_failure() {
        for cursor in [
            None,
            Some(String::new()),
            Some("a b".to_owned()),
            Some("x".repeat(257)),
        ] {
            let mut events = events();
            events.keep_alive(0);
            events.started(0);
            assert!(!events.answered(5, cursor));
            assert!(!events.is_fresh(5) && !events.is_due(5) && events.failures() == 1);
            assert!(events.is_due(255));
            assert_eq!(events.started(255).0, CURSOR_NOW);
        }
    }

    #[test]
    fn failed_polls_are_retried_within_two_seconds() {
        let mut events = events();
        events.keep_alive(0);
        let mut now = 0;
        for _ in 0..8 {
            events.started(now);
            events.failed(now);
            now = (now..).find(|t| events.is_due(*t)).unwrap();
        }
        let expected_ms = 250 + 500 + 1_000 + 5 * 2_000;
        assert!((expected_ms / 2..=expected_ms).contains(&now), "{now}");
    }
}
