//! Whether an engine may get a session at all. Which of the eligible engines gets it, the strategy decides.

use super::Rules;
use crate::accounting::LoadSnapshot;
use crate::circuit_breaker::CircuitState;
use crate::engine::State;
use std::fmt;

/// Whether one engine may be chosen in one decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// May be chosen.
    Eligible,
    /// Ejected, with a trial due: may be tried when no other engine is left, or in the background.
    HalfOpen,
    /// May not be chosen.
    Excluded(FilterReason),
}

/// Why an engine may not be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterReason {
    /// This placement has tried it.
    Tried,
    /// Not probed yet.
    Starting,
    /// The probe failed.
    Unhealthy,
    /// The engine reports itself saturated.
    Saturated,
    /// It has the maximum number of sessions per engine.
    Full,
    /// The pool has its maximum number of sessions.
    PoolFull,
    /// It has less free memory than the pool's floor.
    LowMemory,
    /// It is to get no new session.
    Draining,
    /// Its circuit breaker is open: a placement failed there a short time ago.
    Ejected,
}

impl FilterReason {
    /// The constant for logs and refusals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tried => "tried",
            Self::Starting => "starting",
            Self::Unhealthy => "unhealthy",
            Self::Saturated => "saturated",
            Self::Full => "full",
            Self::PoolFull => "pool-full",
            Self::LowMemory => "low-memory",
            Self::Draining => "draining",
            Self::Ejected => "ejected",
        }
    }

    /// The engine is up, and its capacity is exhausted.
    #[must_use]
    pub const fn is_capacity_exhausted(self) -> bool {
        matches!(
            self,
            Self::Saturated | Self::Full | Self::PoolFull | Self::LowMemory
        )
    }
}

/// Filters one engine by its state, its sessions, its free memory in MB, and its circuit breaker.
#[must_use]
pub fn evaluate(
    state: State,
    sessions: u32,
    memory_free_mb: Option<f64>,
    snapshot: &LoadSnapshot,
    rules: &Rules,
) -> Eligibility {
    if snapshot.draining {
        return Eligibility::Excluded(FilterReason::Draining);
    }
    match state {
        State::Starting => return Eligibility::Excluded(FilterReason::Starting),
        State::Unhealthy => return Eligibility::Excluded(FilterReason::Unhealthy),
        State::Draining => return Eligibility::Excluded(FilterReason::Draining),
        State::Saturated => return Eligibility::Excluded(FilterReason::Saturated),
        State::Ok | State::NoMetrics => {}
    }
    if rules.per_engine.is_some_and(|max| sessions >= max) {
        return Eligibility::Excluded(FilterReason::Full);
    }
    let is_below = |floor| memory_free_mb.is_some_and(|free_mb| free_mb < floor);
    if rules.memory_floor.is_some_and(is_below) {
        return Eligibility::Excluded(FilterReason::LowMemory);
    }
    match snapshot.circuit {
        CircuitState::Closed => Eligibility::Eligible,
        CircuitState::HalfOpen => Eligibility::HalfOpen,
        CircuitState::Open => Eligibility::Excluded(FilterReason::Ejected),
    }
}

/// How many engines were excluded, and why: it explains a refusal. Exhausted capacity comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterReasons(Vec<(FilterReason, u32)>);

impl FilterReasons {
    pub(super) fn count(&mut self, reason: FilterReason) {
        match self.0.iter_mut().find(|(counted, _)| *counted == reason) {
            Some((_, count)) => *count += 1,
            None => {
                self.0.push((reason, 1));
                self.0
                    .sort_by_key(|(reason, _)| !reason.is_capacity_exhausted());
            }
        }
    }

    fn remove_count(&mut self, reason: FilterReason) {
        if let Some((_, count)) = self.0.iter_mut().find(|(counted, _)| *counted == reason) {
            *count = count.saturating_sub(1);
        }
        self.0.retain(|(_, count)| *count > 0);
    }

    /// The ledger found this number of the tried engines full.
    pub fn mark_full(&mut self, engines: usize) {
        for _ in 0..engines {
            self.remove_count(FilterReason::Tried);
            self.count(FilterReason::Full);
        }
    }

    /// The whole pool is full.
    #[must_use]
    pub fn pool_full() -> Self {
        Self(vec![(FilterReason::PoolFull, 1)])
    }

    /// The capacity of at least one running engine is exhausted; otherwise no engine is up.
    #[must_use]
    pub fn is_capacity_exhausted(&self) -> bool {
        let mut reasons = self.0.iter();
        reasons.any(|(reason, _)| reason.is_capacity_exhausted())
    }
}

impl fmt::Display for FilterReasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no engine is known");
        }
        for (n, (reason, count)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {}", reason.as_str())?;
        }
        Ok(())
    }
}
