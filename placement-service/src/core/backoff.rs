//! Exponential back-off: the delay after a number of consecutive failures, with or without jitter. Randomness is an
//! argument; counting failures, and forgetting them, is the caller's.

use rand::{Rng, RngExt};
use std::ops::Range;
use std::time::Duration;

/// Full jitter: a random part of the whole delay, which keeps many callers from retrying at the same time.
pub const FULL_JITTER: Range<f64> = 0.0..1.0;

/// A delay that doubles with each failure up to a maximum. Any pair of durations is valid: an `initial` above `max`
/// counts as `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExponentialBackoff {
    /// The delay after the first failure.
    pub initial: Duration,
    /// The maximum delay.
    pub max: Duration,
}

impl ExponentialBackoff {
    /// The delay after `failures` consecutive failures; none without a failure.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let times = 1_u32.checked_shl(doublings);
        let delay = times.and_then(|times| self.initial.checked_mul(times));
        delay.map_or(self.max, |delay| delay.min(self.max))
    }

    /// The same, times a random factor.
    pub fn jittered_delay(
        &self,
        failures: u32,
        jitter: Range<f64>,
        random: &mut dyn Rng,
    ) -> Duration {
        let factor = random.random_range(jitter);
        self.delay(failures).mul_f64(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    const BACKOFF: ExponentialBackoff = ExponentialBackoff {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(300),
    };

    #[test]
    fn the_delay_doubles_up_to_the_maximum() {
        for (failures, seconds) in [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 4),
            (9, 256),
            (10, 300),
            (33, 300),
            (u32::MAX, 300),
        ] {
            assert_eq!(BACKOFF.delay(failures), Duration::from_secs(seconds));
        }
    }

    #[test]
    fn jitter_spreads_the_delay_over_its_range() {
        let mut random = StdRng::seed_from_u64(1);
        let mut delays = |jitter: Range<f64>| -> Vec<Duration> {
            let delay = |_| BACKOFF.jittered_delay(3, jitter.clone(), &mut random);
            (0..100).map(delay).collect()
        };
        let seconds = Duration::from_secs;
        let full = delays(FULL_JITTER);
        assert!(full.iter().all(|delay| *delay < seconds(4)));
        assert!(full.iter().any(|delay| *delay > seconds(3)));
        assert!(full.iter().any(|delay| *delay < seconds(1)));
        let narrow = delays(0.75..1.25);
        assert!(narrow.iter().all(|d| (seconds(3)..seconds(5)).contains(d)));
        assert!(narrow.iter().any(|delay| *delay > seconds(4)));
    }

    proptest! {
        #[test]
        fn no_delay_overflows_or_exceeds_the_maximum(failures: u32, initial: u32, max: u32) {
            let max = Duration::from_secs(max.into());
            let backoff = ExponentialBackoff { initial: Duration::from_secs(initial.into()), max };
            prop_assert!(backoff.delay(failures) <= max);
            prop_assert!(backoff.delay(failures) <= backoff.delay(failures.saturating_add(1)));
        }
    }
}
