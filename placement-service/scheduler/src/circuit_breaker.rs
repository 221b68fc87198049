//! The circuit breaker of one engine: a placement that failed there makes it suspect at once, whatever
//! its healthcheck says. A suspect engine gets no client; after a growing back-off it gets one trial at
//! a time, and one success clears it. Time is an argument.

use std::time::Duration;
use tokio::time::Instant;

/// The first back-off; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest back-off.
const LONGEST: Duration = Duration::from_secs(60);

/// Whether an engine may be used, as far as suspicion goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nothing is held against it.
    Clear,
    /// Suspect, but its back-off is over: one trial is due.
    TrialDue,
    /// Suspect: in back-off, or its trial is under way.
    Suspect,
}

/// What is held against one engine.
#[derive(Debug, Default)]
pub struct Suspicion(Option<Suspect>);

#[derive(Debug)]
struct Suspect {
    since: Instant,
    backoff: Duration,
    on_trial: bool,
}

impl Suspicion {
    /// May the engine be used now?
    #[must_use]
    pub fn trust(&self, now: Instant) -> Trust {
        match &self.0 {
            None => Trust::Clear,
            Some(s) if !s.on_trial && now >= s.since + s.backoff => Trust::TrialDue,
            Some(_) => Trust::Suspect,
        }
    }

    /// A trial begins; until it ends there is no second one.
    pub fn begin_trial(&mut self) {
        if let Some(suspect) = &mut self.0 {
            suspect.on_trial = true;
        }
    }

    /// A trial was given up without a result.
    pub fn abandon_trial(&mut self) {
        if let Some(suspect) = &mut self.0 {
            suspect.on_trial = false;
        }
    }

    /// An attempt that began at `began` failed at `now`. Attempts that were already under way when
    /// the engine became suspect tell nothing new. True when this is news.
    pub fn failed(&mut self, began: Instant, now: Instant) -> bool {
        let backoff = match &self.0 {
            None => FIRST,
            Some(s) if began < s.since => return false,
            Some(s) => (s.backoff * 2).min(LONGEST),
        };
        self.0 = Some(Suspect {
            since: now,
            backoff,
            on_trial: false,
        });
        true
    }

    /// The engine served. True when it was suspect before.
    pub fn cleared(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn backoff_doubles_up_to_a_minute() {
        let mut now = Instant::now();
        let mut suspicion = Suspicion::default();
        assert_eq!(suspicion.trust(now), Trust::Clear);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(suspicion.failed(now, now));
            let backoff = Duration::from_secs(seconds);
            assert_eq!(suspicion.trust(now + backoff - MS), Trust::Suspect);
            now += backoff;
            assert_eq!(suspicion.trust(now), Trust::TrialDue);
        }
    }

    #[test]
    fn one_trial_at_a_time() {
        let start = Instant::now();
        let mut suspicion = Suspicion::default();
        suspicion.failed(start, start);
        let later = start + FIRST;
        suspicion.begin_trial();
        assert_eq!(suspicion.trust(later), Trust::Suspect);
        suspicion.abandon_trial();
        assert_eq!(suspicion.trust(later), Trust::TrialDue);
    }

    #[test]
    fn attempts_under_way_at_the_first_failure_do_not_lengthen_the_backoff() {
        let start = Instant::now();
        let mut suspicion = Suspicion::default();
        assert!(suspicion.failed(start, start + 800 * MS));
        for _ in 0..64 {
            assert!(!suspicion.failed(start + MS, start + 801 * MS));
        }
        assert_eq!(suspicion.trust(start + 1800 * MS), Trust::TrialDue);
    }

    #[test]
    fn a_success_clears() {
        let now = Instant::now();
        let mut suspicion = Suspicion::default();
        assert!(!suspicion.cleared());
        suspicion.failed(now, now);
        assert!(suspicion.cleared());
        assert_eq!(suspicion.trust(now), Trust::Clear);
    }
}
