//! When to call the placement service again: at an interval, later from failure to failure, and never
//! while a call is under way. Knows no clock and no host: both are told what time it is, in milliseconds of a
//! clock that may be set back: what was to happen by the old time happens at once.

/// Milliseconds before the second try; doubled from try to try.
const FIRST_BACK_OFF_MS: u64 = 250;

/// The schedule of one kind of call.
#[derive(Clone, Debug)]
pub struct Schedule {
    every_ms: u64,
    max_back_off_ms: u64,
    lost_after_ms: u64,
    next: u64,
    /// When it last heard of a call.
    seen: u64,
    failures: u32,
    last: Option<u64>,
    in_flight: bool,
    has_succeeded: bool,
    /// State of the generator of jitter; `None`: no jitter.
    jitter: Option<u64>,
}

impl Schedule {
    /// The first call is due at once, the next ones `every_ms` after a good one, and at most
    /// `max_back_off_ms` after a failure. One of which nothing was heard for `lost_after_ms` is lost.
    #[must_use]
    pub const fn new(every_ms: u64, max_back_off_ms: u64, lost_after_ms: u64) -> Self {
        Self {
            every_ms,
            max_back_off_ms,
            lost_after_ms,
            next: 0,
            seen: 0,
            failures: 0,
            last: None,
            in_flight: false,
            has_succeeded: false,
            jitter: None,
        }
    }

    /// With jitter: waits after failures are between half the back-off and all of it, so that the workers of many gateways
    /// do not all call a service in the moment in which it comes back. `seed` is random.
    #[must_use]
    pub const fn with_jitter(mut self, seed: u64) -> Self {
        self.jitter = Some(seed);
        self
    }

    /// Whether a call was ever answered well.
    #[must_use]
    pub const fn has_succeeded(&self) -> bool {
        self.has_succeeded
    }

    /// Whether to call now.
    #[must_use]
    pub const fn is_due(&self, now: u64) -> bool {
        !self.in_flight && (now >= self.next || now < self.seen)
    }

    /// How many calls in a row have failed.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a call is under way of which nothing will be heard any more: it has failed.
    #[must_use]
    pub fn is_lost(&self, now: u64) -> bool {
        let lost = |t: u64| now < t || now >= t.saturating_add(self.lost_after_ms);
        self.in_flight && self.last.is_some_and(lost)
    }

    /// A call has begun.
    pub const fn started(&mut self, now: u64) {
        self.in_flight = true;
        self.last = Some(now);
        self.seen = now;
    }

    /// A call was answered well.
    pub const fn succeeded(&mut self, now: u64) {
        self.in_flight = false;
        self.failures = 0;
        self.has_succeeded = true;
        self.seen = now;
        self.next = now.saturating_add(self.every_ms);
    }

    /// A call failed: the next one waits longer.
    pub fn failed(&mut self, now: u64) {
        self.in_flight = false;
        self.seen = now;
        let wait = FIRST_BACK_OFF_MS.saturating_mul(1 << self.failures.min(16));
        let wait = wait.min(self.max_back_off_ms);
        self.failures = self.failures.saturating_add(1);
        self.next = now.saturating_add(self.jittered(wait));
    }

    /// A random time from half of `wait_ms` up to all of it.
    const fn jittered(&mut self, wait_ms: u64) -> u64 {
        let Some(state) = self.jitter else {
            return wait_ms;
        };
        // Knuth's MMIX generator; its high bits are the good ones. Nothing depends on them that a stranger could use.
        let state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.jitter = Some(state);
        let half = wait_ms / 2;
        match (state >> 33).checked_rem(half.saturating_add(1)) {
            Some(less) => wait_ms.saturating_sub(less),
            None => wait_ms,
        }
    }

    /// The next call is due earlier, yet no earlier than `gap_ms` after the last one, and not while calls fail.
    pub fn hurry(&mut self, gap_ms: u64) {
        if self.failures == 0 {
            let soon = self.last.map_or(0, |t| t.saturating_add(gap_ms));
            self.next = self.next.min(soon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn schedule() -> Schedule {
        Schedule::new(300_000, 30_000, 60_000)
    }

    #[test]
    fn calls_at_once_and_then_at_the_interval() {
        let mut schedule = schedule();
        assert!(schedule.is_due(1_000));
        schedule.started(1_000);
        assert!(!schedule.is_due(1_001));
        schedule.succeeded(1_010);
        assert!(!schedule.is_due(301_009));
        assert!(schedule.is_due(301_010));
    }

    #[test]
    fn waits_longer_from_failure_to_failure_up_to_a_limit() {
        let mut schedule = schedule();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..10 {
            schedule.started(now);
            schedule.failed(now);
            let due = (now..).find(|t| schedule.is_due(*t)).unwrap();
            waits.push(due - now);
            now = due;
        }
        assert_eq!(waits[..4], [250, 500, 1000, 2000]);
        assert_eq!(waits[9], 30_000);
        assert_eq!(schedule.failures(), 10);
    }

    #[test]
    fn jitter_spreads_a_wait_over_its_second_half() {
        let waits: Vec<u64> = (0..1_000)
            .map(|seed| {
                let mut schedule = schedule().with_jitter(seed * 0x9e37_79b9_7f4a_7c15);
                schedule.started(0);
                schedule.failed(0);
                (0..).find(|t| schedule.is_due(*t)).unwrap()
            })
            .collect();
        assert!(waits.iter().all(|wait| (125..=250).contains(wait)));
        let early = waits.iter().filter(|wait| **wait < 188).count();
        assert!(
            (400..600).contains(&early),
            "{early} of 1,000 in the first half"
        );
    }

    #[test]
    fn a_hurry_is_soon_but_seldom() {
        let mut schedule = schedule();
        schedule.started(0);
        schedule.succeeded(0);
        schedule.hurry(5_000);
        assert!(!schedule.is_due(4_999));
        assert!(schedule.is_due(5_000));
        schedule.started(5_000);
        schedule.failed(5_000);
        schedule.hurry(0);
        assert!(!schedule.is_due(5_001));
    }

    #[test]
    fn a_call_that_nothing_is_heard_of_is_lost() {
        let mut schedule = schedule();
        assert!(!schedule.is_lost(u64::MAX));
        schedule.started(1);
        assert!(!schedule.is_lost(60_000));
        assert!(schedule.is_lost(60_001) && !schedule.is_due(60_001));
        schedule.failed(60_001);
        assert!(!schedule.is_lost(u64::MAX) && schedule.is_due(60_251));
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut schedule = schedule();
        schedule.started(3_600_000);
        assert!(schedule.is_lost(1_000), "nobody knows since when");
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
