//! How long consecutive failed logins lock an account: pure arithmetic. Must not know the store or the clock.

use crate::config::Lockout;
use crate::core::backoff::ExponentialBackoff;
use crate::core::clock::millis;
use berth_store::Attempts;

impl Lockout {
    /// Whether logins are refused at `now_ms`. A lock that ends later than any lock of now could is of a replica whose
    /// clock was ahead: it does not count.
    #[must_use]
    pub fn is_locked(&self, attempts: Attempts, now_ms: u64) -> bool {
        let latest_ms = now_ms.saturating_add(millis(self.max));
        now_ms < attempts.locked_until_ms && attempts.locked_until_ms <= latest_ms
    }

    /// The attempts after one more failure at `now_ms`. The failure number `max_failures` locks the account for `initial`. Each
    /// further failure doubles the duration, up to `max`.
    #[must_use]
    pub fn after_failure(&self, attempts: Attempts, now_ms: u64) -> Attempts {
        let failures = attempts.failures.saturating_add(1);
        let backoff = ExponentialBackoff {
            initial: self.initial,
            max: self.max,
        };
        let locked_for = failures
            .checked_sub(self.max_failures)
            .map(|extra_failures| backoff.delay(extra_failures.saturating_add(1)));
        Attempts {
            failures,
            locked_until_ms: locked_for.map_or(0, |time| now_ms.saturating_add(millis(time))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const RULE: Lockout = Lockout {
        max_failures: 5,
        initial: Duration::from_secs(60),
        max: Duration::from_secs(3600),
    };

    #[test]
    fn the_lock_doubles_up_to_an_hour() {
        let mut attempts = Attempts::default();
        let mut minutes = Vec::new();
        for _ in 0..14 {
            attempts = RULE.after_failure(attempts, 1_000);
            minutes.push(attempts.locked_until_ms.saturating_sub(1_000) / 60_000);
        }
        assert_eq!(minutes, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(attempts.failures, 14);
    }

    #[test]
    fn a_lock_of_a_clock_that_was_ahead_does_not_count() {
        let until = |locked_until_ms| Attempts {
            failures: 9,
            locked_until_ms,
        };
        let (now_ms, max_ms) = (10_000_000, 3_600_000);
        assert!(RULE.is_locked(until(now_ms + 1), now_ms));
        assert!(RULE.is_locked(until(now_ms + max_ms), now_ms));
        assert!(!RULE.is_locked(until(now_ms + max_ms + 1), now_ms));
        assert!(!RULE.is_locked(until(now_ms), now_ms));
    }

    proptest! {
        #[test]
        fn no_number_of_failures_overflows_or_exceeds_the_maximum(failures: u32, now_ms in 0..u64::MAX / 2) {
            let before = Attempts { failures, locked_until_ms: 0 };
            let after = RULE.after_failure(before, now_ms);
            prop_assert!(after.locked_until_ms <= now_ms + 3_600_000);
            prop_assert!(after.failures >= 5 || after.locked_until_ms == 0);
            prop_assert!(after.failures < 5 || after.locked_until_ms >= now_ms + 60_000);
        }
    }
}
