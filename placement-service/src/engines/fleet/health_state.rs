//! Decides the health of an engine from a series of probes: consecutive failures make it unhealthy, consecutive
//! successes make it healthy again. A pure state machine without I/O. Also decides which faults are logged: one line
//! per change.

use crate::engines::health::{EngineReport, ProbeFault, Reading};
use berth_scheduler::engine::{Load, State};

/// The numbers of consecutive results that change the state.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Failures that make an engine unhealthy.
    pub failures: u32,
    /// Successes that make it healthy again.
    pub successes: u32,
}

/// The health of one engine.
#[derive(Debug)]
pub struct HealthState {
    thresholds: Thresholds,
    state: State,
    failures: u32,
    successes: u32,
    /// The fault that was logged last. `None` after a success.
    logged_fault: Option<&'static str>,
}

/// The effect of one probe.
#[derive(Debug, Default, PartialEq)]
pub struct HealthChange {
    /// The states before and after, if the state changed.
    pub state: Option<(State, State)>,
    /// A fault that has not been logged yet.
    pub new_fault: Option<ProbeFault>,
    /// The load, if the probe returned one.
    pub load: Option<Load>,
    /// The full content of the last probe, if a reader needs it.
    pub report: Option<EngineReport>,
}

impl HealthState {
    /// An engine that has not been probed.
    #[must_use]
    pub const fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            state: State::Starting,
            failures: 0,
            successes: 0,
            logged_fault: None,
        }
    }

    /// The current state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Applies the result of one probe.
    pub fn apply(&mut self, result: Result<Reading, ProbeFault>) -> HealthChange {
        let state_before = self.state;
        let mut change = HealthChange::default();
        let fault = match result {
            Ok(reading) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                let saturated = reading
                    .load
                    .as_ref()
                    .is_some_and(|reading| reading.saturated);
                if state_before != State::Unhealthy || self.successes >= self.thresholds.successes {
                    self.state = match (&reading.metrics_fault, saturated) {
                        (_, true) => State::Saturated,
                        (Some(_), false) => State::NoMetrics,
                        (None, false) => State::Ok,
                    };
                }
                change.load = reading.load;
                change.report = reading.report;
                reading.metrics_fault
            }
            Err(fault) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                // The threshold does not apply to an engine that has never succeeded.
                if state_before == State::Starting || self.failures >= self.thresholds.failures {
                    self.state = State::Unhealthy;
                }
                Some(fault)
            }
        };
        if self.state != state_before {
            change.state = Some((state_before, self.state));
        }
        let fault_name = fault.as_ref().map(ProbeFault::as_str);
        if fault_name != self.logged_fault {
            self.logged_fault = fault_name;
            change.new_fault = fault;
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        failures: 3,
        successes: 2,
    };

    fn healthy_reading() -> Result<Reading, ProbeFault> {
        Ok(Reading {
            load: Some(Load::default()),
            metrics_fault: None,
            report: None,
        })
    }

    fn bad() -> Result<Reading, ProbeFault> {
        Err(ProbeFault::Status(500))
    }

    fn healthy() -> HealthState {
        let mut health = HealthState::new(THRESHOLDS);
        health.apply(healthy_reading());
        health
    }

    #[test]
    fn the_first_probe_decides_at_once() {
        assert_eq!(healthy().state(), State::Ok);
        let mut health = HealthState::new(THRESHOLDS);
        health.apply(bad());
        assert_eq!(health.state(), State::Unhealthy);
    }

    #[test]
    fn consecutive_failures_make_unhealthy_single_ones_do_not() {
        let mut health = healthy();
        for result in [bad(), bad(), healthy_reading(), bad(), bad()] {
            health.apply(result);
            assert_eq!(health.state(), State::Ok);
        }
        let change = health.apply(bad());
        assert_eq!(change.state, Some((State::Ok, State::Unhealthy)));
    }

    #[test]
    fn consecutive_successes_make_healthy_again() {
        let mut health = healthy();
        for _ in 0..3 {
            health.apply(bad());
        }
        for result in [healthy_reading(), bad(), healthy_reading()] {
            health.apply(result);
            assert_eq!(health.state(), State::Unhealthy);
        }
        health.apply(healthy_reading());
        assert_eq!(health.state(), State::Ok);
    }

    #[test]
    fn each_new_fault_is_logged_once() {
        let mut health = healthy();
        assert!(health.apply(bad()).new_fault.is_some());
        assert!(health.apply(bad()).new_fault.is_none());
        let other = Err(ProbeFault::Malformed("<html>".into()));
        assert!(health.apply(other).new_fault.is_some());
        assert!(health.apply(healthy_reading()).new_fault.is_none());
        assert!(health.apply(bad()).new_fault.is_some());
    }

    #[test]
    fn metrics_and_saturation_have_states_of_their_own() {
        let mut health = healthy();
        let mut reading = healthy_reading().unwrap();
        reading.metrics_fault = Some(ProbeFault::Status(404));
        health.apply(Ok(reading.clone()));
        assert_eq!(health.state(), State::NoMetrics);
        reading.load = Some(Load {
            saturated: true,
            ..Load::default()
        });
        health.apply(Ok(reading));
        assert_eq!(health.state(), State::Saturated);
        health.apply(healthy_reading());
        assert_eq!(health.state(), State::Ok);
    }
}
