//! The delay after a failed delivery: exponential back-off with full jitter, a random time between zero and a bound
//! that doubles. The jitter keeps many senders from retrying one receiver at the same time.

use crate::config::Backoff;
use rand::{Rng, RngExt};
use std::time::Duration;

/// The delay after `failures` consecutive failures.
pub(super) fn delay(backoff: &Backoff, failures: u32, random: &mut dyn Rng) -> Duration {
    max_delay(backoff, failures).mul_f64(random.random())
}

fn max_delay(backoff: &Backoff, failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1));
    let bound = doubled.and_then(|times| backoff.initial.checked_mul(times));
    bound.map_or(backoff.max, |bound| bound.min(backoff.max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn the_bound_doubles_up_to_the_maximum_and_the_delay_is_below_it() {
        let backoff = Backoff::default();
        let mut random = StdRng::seed_from_u64(1);
        for (failures, seconds) in [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (99, 300)] {
            let bound = max_delay(&backoff, failures);
            assert_eq!(bound, Duration::from_secs(seconds));
            let waits: Vec<_> = (0..100)
                .map(|_| delay(&backoff, failures, &mut random))
                .collect();
            assert!(waits.iter().all(|wait| *wait <= bound));
            assert!(waits.iter().any(|wait| *wait > bound / 2));
            assert!(waits.iter().any(|wait| *wait < bound / 2));
        }
    }
}
