//! Decides when an Envoy that exited is restarted: after a growing pause, and no longer once it exits at every start,
//! as with an invalid configuration. It does not know which process it counts.

use std::time::Duration;

/// A process that ran for this long did start: its next exit counts as the first one.
const STEADY: Duration = Duration::from_secs(10);
/// Number of consecutive exits before [`STABLE_AFTER`] that ends the restarts.
const MAX_EARLY: u32 = 3;
/// The pause before the first restart. It doubles with each early exit.
const PAUSE: Duration = Duration::from_millis(500);

/// The early exits so far.
#[derive(Debug, Default)]
pub struct Restarts {
    early: u32,
}

impl Restarts {
    /// The pause before the restart of a process that ran for this time; `None` when it is not restarted.
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
    fn consecutive_early_exits_end_the_restarts() {
        let mut restarts = Restarts::default();
        let early = Duration::from_secs(1);
        let pauses = [(); 3].map(|()| restarts.pause_after(early));
        assert_eq!(pauses, [Some(PAUSE * 2), Some(PAUSE * 4), None]);
    }

    #[test]
    fn a_process_that_ran_long_is_always_restarted() {
        let mut restarts = Restarts::default();
        for _ in 0..100 {
            assert_eq!(restarts.pause_after(STEADY), Some(PAUSE));
            assert!(restarts.pause_after(Duration::ZERO).is_some());
        }
    }
}
