//! The circuit breaker of one engine. A placement that failed there opens it at once, whatever the health check says:
//! the engine is ejected and gets no client. After a growing back-off one trial at a time is let through; one success
//! closes it. Time is an argument.

use std::time::Duration;
use tokio::time::Instant;

/// The first back-off; each further failure doubles it.
const INITIAL: Duration = Duration::from_secs(1);
/// The longest back-off.
const MAX: Duration = Duration::from_secs(60);

/// Whether the circuit breaker lets a placement through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Closed: placements get through.
    Closed,
    /// Half-open: the back-off has passed, and one trial is due.
    HalfOpen,
    /// Open: in back-off, or the trial is under way.
    Open,
}

/// The circuit breaker of one engine.
#[derive(Debug, Default)]
pub enum CircuitBreaker {
    /// Placements get through.
    #[default]
    Closed,
    /// In back-off; afterwards a trial is due.
    Open(Ejection),
    /// A trial is under way.
    Trial(Ejection),
}

/// When an engine was ejected, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Ejection {
    since: Instant,
    backoff: Duration,
}

impl CircuitBreaker {
    /// Whether it lets a placement through now.
    #[must_use]
    pub fn state(&self, now: Instant) -> CircuitState {
        match self {
            Self::Closed => CircuitState::Closed,
            Self::Open(ejection) if now >= ejection.since + ejection.backoff => {
                CircuitState::HalfOpen
            }
            Self::Open(_) | Self::Trial(_) => CircuitState::Open,
        }
    }

    /// When a trial will be due, unless one is under way.
    #[must_use]
    pub fn trial_at(&self) -> Option<Instant> {
        match self {
            Self::Open(ejection) => Some(ejection.since + ejection.backoff),
            Self::Closed | Self::Trial(_) => None,
        }
    }

    /// A trial begins; until it ends there is no second one.
    pub fn begin_trial(&mut self) {
        if let Self::Open(ejection) = *self {
            *self = Self::Trial(ejection);
        }
    }

    /// The trial ended without a result.
    pub fn abandon_trial(&mut self) {
        if let Self::Trial(ejection) = *self {
            *self = Self::Open(ejection);
        }
    }

    /// A placement that began at `started_at` failed at `now`. `false`, without effect, when it began before the engine was
    /// ejected: placements that were under way at the first failure must not lengthen the back-off.
    pub fn record_failure(&mut self, started_at: Instant, now: Instant) -> bool {
        let backoff = match self {
            Self::Closed => INITIAL,
            Self::Open(ejection) | Self::Trial(ejection) if started_at < ejection.since => {
                return false;
            }
            Self::Open(ejection) | Self::Trial(ejection) => (ejection.backoff * 2).min(MAX),
        };
        *self = Self::Open(Ejection {
            since: now,
            backoff,
        });
        true
    }

    /// A placement succeeded. True when the engine was ejected before.
    pub fn record_success(&mut self) -> bool {
        !matches!(std::mem::take(self), Self::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn backoff_doubles_up_to_a_minute() {
        let mut now = Instant::now();
        let mut breaker = CircuitBreaker::default();
        assert_eq!(breaker.state(now), CircuitState::Closed);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(breaker.record_failure(now, now));
            let backoff = Duration::from_secs(seconds);
            assert_eq!(breaker.state(now + backoff - MS), CircuitState::Open);
            assert_eq!(breaker.trial_at(), Some(now + backoff));
            now += backoff;
            assert_eq!(breaker.state(now), CircuitState::HalfOpen);
        }
    }

    #[test]
    fn one_trial_at_a_time() {
        let start = Instant::now();
        let mut breaker = CircuitBreaker::default();
        breaker.record_failure(start, start);
        let later = start + INITIAL;
        breaker.begin_trial();
        assert_eq!(breaker.state(later), CircuitState::Open);
        breaker.abandon_trial();
        assert_eq!(breaker.state(later), CircuitState::HalfOpen);
    }

    #[test]
    fn attempts_under_way_at_the_first_failure_do_not_lengthen_the_backoff() {
        let start = Instant::now();
        let mut breaker = CircuitBreaker::default();
        assert!(breaker.record_failure(start, start + 800 * MS));
        for _ in 0..64 {
            assert!(!breaker.record_failure(start + MS, start + 801 * MS));
        }
        assert_eq!(breaker.state(start + 1800 * MS), CircuitState::HalfOpen);
    }

    #[test]
    fn a_success_clears() {
        let now = Instant::now();
        let mut breaker = CircuitBreaker::default();
        assert!(!breaker.record_success());
        breaker.record_failure(now, now);
        assert!(breaker.record_success());
        assert_eq!(breaker.state(now), CircuitState::Closed);
    }
}
