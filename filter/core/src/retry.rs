//! When to call the placement service again: at an interval, with exponential back-off after failures, and never
//! while a call is in flight. Knows no clock and no host: the caller passes the time in milliseconds. The clock may
//! move back; what was due by the old time is then due at once.

/// Back-off in milliseconds after the first failure; each further failure doubles it.
const INITIAL_BACK_OFF_MS: u64 = 250;

/// The schedule of one kind of call.
#[derive(Clone, Debug)]
pub struct RetrySchedule {
    interval_ms: u64,
    max_back_off_ms: u64,
    timeout_ms: u64,
    next: u64,
    /// The latest time that the schedule was given; an earlier one shows that the clock moved back.
    latest: u64,
    failures: u32,
    last_start: Option<u64>,
    in_flight: bool,
    has_succeeded: bool,
    /// State of the jitter generator; `None`: no jitter.
    jitter: Option<u64>,
}

impl RetrySchedule {
    /// The first call is due at once, the next ones `interval_ms` after a success and at most `max_back_off_ms`
    /// after a failure. A call without a result after `timeout_ms` has timed out.
    #[must_use]
    pub const fn new(interval_ms: u64, max_back_off_ms: u64, timeout_ms: u64) -> Self {
        Self {
            interval_ms,
            max_back_off_ms,
            timeout_ms,
            next: 0,
            latest: 0,
            failures: 0,
            last_start: None,
            in_flight: false,
            has_succeeded: false,
            jitter: None,
        }
    }

    /// Adds jitter: a wait after a failure is between half the back-off and all of it, so that the workers of many
    /// gateways do not all call a service at the moment of its recovery. `seed` is random.
    #[must_use]
    pub const fn with_jitter(mut self, seed: u64) -> Self {
        self.jitter = Some(seed);
        self
    }

    /// Whether any call has succeeded.
    #[must_use]
    pub const fn has_succeeded(&self) -> bool {
        self.has_succeeded
    }

    /// Whether to call now.
    #[must_use]
    pub const fn is_due(&self, now: u64) -> bool {
        !self.in_flight && (now >= self.next || now < self.latest)
    }

    /// Consecutive failures.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the call in flight has had no result for too long; the caller then reports a failure.
    #[must_use]
    pub fn is_timed_out(&self, now: u64) -> bool {
        let expired = |start: u64| now < start || now >= start.saturating_add(self.timeout_ms);
        self.in_flight && self.last_start.is_some_and(expired)
    }

    /// A call has started.
    pub const fn started(&mut self, now: u64) {
        self.in_flight = true;
        self.last_start = Some(now);
        self.latest = now;
    }

    /// The call has succeeded.
    pub const fn succeeded(&mut self, now: u64) {
        self.in_flight = false;
        self.failures = 0;
        self.has_succeeded = true;
        self.latest = now;
        self.next = now.saturating_add(self.interval_ms);
    }

    /// The call has failed: the next one waits longer.
    pub fn failed(&mut self, now: u64) {
        self.in_flight = false;
        self.latest = now;
        let wait = INITIAL_BACK_OFF_MS.saturating_mul(1 << self.failures.min(16));
        let wait = wait.min(self.max_back_off_ms);
        self.failures = self.failures.saturating_add(1);
        self.next = now.saturating_add(self.add_jitter(wait));
    }

    /// A random time from half of `wait_ms` up to all of it.
    const fn add_jitter(&mut self, wait_ms: u64) -> u64 {
        let Some(state) = self.jitter else {
            return wait_ms;
        };
        // Knuth's MMIX generator; its high bits are the random ones. Nothing that an attacker could use depends on it.
        let state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.jitter = Some(state);
        let half = wait_ms / 2;
        match (state >> 33).checked_rem(half.saturating_add(1)) {
            Some(reduction_ms) => wait_ms.saturating_sub(reduction_ms),
            None => wait_ms,
        }
    }

    /// Makes the next call due earlier, but not within `gap_ms` of the last one, and not while calls fail.
    pub fn expedite(&mut self, gap_ms: u64) {
        if self.failures == 0 {
            let earliest_start = self
                .last_start
                .map_or(0, |started_at| started_at.saturating_add(gap_ms));
            self.next = self.next.min(earliest_start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn schedule() -> RetrySchedule {
        RetrySchedule::new(300_000, 30_000, 60_000)
    }

    #[test]
    fn first_call_is_due_at_once_then_at_the_interval() {
        let mut schedule = schedule();
        assert!(schedule.is_due(1_000));
        schedule.started(1_000);
        assert!(!schedule.is_due(1_001));
        schedule.succeeded(1_010);
        assert!(!schedule.is_due(301_009));
        assert!(schedule.is_due(301_010));
    }

    #[test]
    fn back_off_doubles_up_to_its_maximum() {
        let mut schedule = schedule();
        let mut now = 0;
        let mut wait_times = Vec::new();
        for _ in 0..10 {
            schedule.started(now);
            schedule.failed(now);
            let due_at = (now..).find(|t| schedule.is_due(*t)).unwrap();
            wait_times.push(due_at - now);
            now = due_at;
        }
        assert_eq!(wait_times[..4], [250, 500, 1000, 2000]);
        assert_eq!(wait_times[9], 30_000);
        assert_eq!(schedule.failures(), 10);
    }

    #[test]
    fn jitter_spreads_waits_over_the_second_half_of_the_back_off() {
        let wait_times: Vec<u64> = (0..1_000)
            .map(|seed| {
                let mut schedule = schedule().with_jitter(seed * 0x9e37_79b9_7f4a_7c15);
                schedule.started(0);
                schedule.failed(0);
                (0..).find(|t| schedule.is_due(*t)).unwrap()
            })
            .collect();
        assert!(wait_times.iter().all(|wait| (125..=250).contains(wait)));
        let early_count = wait_times.iter().filter(|wait| **wait < 188).count();
        assert!(
            (400..600).contains(&early_count),
            "{early_count} of 1,000 in the first half"
        );
    }

    #[test]
    fn expedite_respects_the_gap_and_failures() {
        let mut schedule = schedule();
        schedule.started(0);
        schedule.succeeded(0);
        schedule.expedite(5_000);
        assert!(!schedule.is_due(4_999));
        assert!(schedule.is_due(5_000));
        schedule.started(5_000);
        schedule.failed(5_000);
        schedule.expedite(0);
        assert!(!schedule.is_due(5_001));
    }

    #[test]
    fn a_call_without_a_result_times_out() {
        let mut schedule = schedule();
        assert!(!schedule.is_timed_out(u64::MAX));
        schedule.started(1);
        assert!(!schedule.is_timed_out(60_000));
        assert!(schedule.is_timed_out(60_001) && !schedule.is_due(60_001));
        schedule.failed(60_001);
        assert!(!schedule.is_timed_out(u64::MAX) && schedule.is_due(60_251));
    }

    #[test]
    fn a_clock_that_moves_back_blocks_nothing() {
        let mut schedule = schedule();
        schedule.started(3_600_000);
        assert!(schedule.is_timed_out(1_000), "the start lies in the future");
        schedule.failed(1_000);
        assert!(!schedule.is_due(1_249) && schedule.is_due(1_250));
        schedule.started(3_600_000);
        schedule.succeeded(3_600_000);
        assert!(!schedule.is_due(3_600_000) && schedule.is_due(1_000));
        schedule.started(1_000);
        schedule.succeeded(1_000);
        assert!(!schedule.is_due(300_999) && schedule.is_due(301_000));
    }
}
