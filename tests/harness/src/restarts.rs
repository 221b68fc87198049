//! When an Envoy that has died is started again: after a pause that grows, and no longer once it dies at each start, as
//! with a configuration that it does not take. It does not know what it counts the deaths of.

use std::time::Duration;

/// What has lived this long did start: the next death counts as the first.
const STEADY: Duration = Duration::from_secs(10);
/// Deaths in a row before [`STEADY`] that end the attempts.
const MAX_EARLY: u32 = 3;
/// The pause before the next start; twice as long after each early death.
const PAUSE: Duration = Duration::from_millis(500);

/// The deaths so far.
#[derive(Debug, Default)]
pub struct Restarts {
    early: u32,
}

impl Restarts {
    /// The pause before the next start of what has died after this time; `None` when it is not to be started again.
    pub fn pause_after(&mut self, lived: Duration) -> Option<Duration> {
        if lived >= STEADY {
            self.early = 0;
            return Some(PAUSE);
        }
        self.early += 1;
        (self.early < MAX_EARLY).then(|| PAUSE * 2_u32.pow(self.early))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_deaths_in_a_row_end_the_attempts() {
        let mut restarts = Restarts::default();
        let early = Duration::from_secs(1);
        let pauses = [(); 3].map(|()| restarts.pause_after(early));
        assert_eq!(pauses, [Some(PAUSE * 2), Some(PAUSE * 4), None]);
    }

    #[test]
    fn what_has_lived_long_is_always_started_again() {
        let mut restarts = Restarts::default();
        for _ in 0..100 {
            assert_eq!(restarts.pause_after(STEADY), Some(PAUSE));
            assert!(restarts.pause_after(Duration::ZERO).is_some());
        }
    }
}
