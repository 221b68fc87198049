//! Decides when an Envoy that exited is restarted: after a growing pause, and no longer once it exits at every start,
//! as with an invalid configuration. It does not know which process it counts.

use std::time::Duration;

/// A process that ran for this long did start: its next exit counts as the first one.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Number of consecutive exits before [`STABLE_AFTER`] that ends the restarts.
const MAX_EARLY_EXITS: u32 = 3;
/// The pause before the first restart. It doubles with each early exit.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The early exits so far.
#[derive(Debug, Default)]
pub struct RestartPolicy {
    early_exits: u32,
}

impl RestartPolicy {
    /// The pause before the restart of a process that ran for this time; `None` when it is not restarted.
    pub fn pause_after(&mut self, uptime: Duration) -> Option<Duration> {
        if uptime >= STABLE_AFTER {
            self.early_exits = 0;
            return Some(FIRST_PAUSE);
        }
        self.early_exits += 1;
        (self.early_exits < MAX_EARLY_EXITS).then(|| FIRST_PAUSE * 2_u32.pow(self.early_exits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_early_exits_end_the_restarts() {
        let mut restarts = RestartPolicy::default();
        let short_uptime = Duration::from_secs(1);
        let pauses = [(); 3].map(|()| restarts.pause_after(short_uptime));
        assert_eq!(pauses, [Some(FIRST_PAUSE * 2), Some(FIRST_PAUSE * 4), None]);
    }

    #[test]
    fn a_process_that_ran_long_is_always_restarted() {
        let mut restarts = RestartPolicy::default();
        for _ in 0..100 {
            assert_eq!(restarts.pause_after(STABLE_AFTER), Some(FIRST_PAUSE));
            assert!(restarts.pause_after(Duration::ZERO).is_some());
        }
    }
}
