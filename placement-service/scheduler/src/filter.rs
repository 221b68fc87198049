//! Whether an engine may get a session at all. Which of the eligible gets it is the strategy's affair.

use super::Rules;
use super::candidate::Facts;
use crate::accounting::Standing;
use crate::circuit_breaker::Trust;
use crate::engine::State;
use std::fmt;

/// The verdict on one engine for one placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// May be chosen.
    Eligible,
    /// Suspect, with a trial due: may be tried when nothing else is left, or beside the placement.
    TrialDue,
    /// May not be chosen.
    Excluded(Exclusion),
}

/// Why an engine may not be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusion {
    /// This placement has tried it.
    Tried,
    /// Not probed yet.
    Starting,
    /// The probe says that it is down.
    Unhealthy,
    /// It says itself that it can take no more.
    Saturated,
    /// It has as many sessions as the pool's threshold allows.
    Full,
    /// The whole pool has as many sessions as it may.
    PoolFull,
    /// It has less free memory than the pool's floor.
    LowMemory,
    /// It is to get nothing new.
    Draining,
    /// A placement failed there a moment ago.
    Suspect,
}

impl Exclusion {
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
            Self::Suspect => "suspect",
        }
    }

    /// The engine is up and has no room.
    #[must_use]
    pub const fn is_for_want_of_room(self) -> bool {
        matches!(
            self,
            Self::Saturated | Self::Full | Self::PoolFull | Self::LowMemory
        )
    }
}

/// Judges one engine by its state, its numbers and what is held against it.
#[must_use]
pub fn judge(state: State, facts: &Facts, standing: &Standing, rules: &Rules) -> Verdict {
    if standing.draining {
        return Verdict::Excluded(Exclusion::Draining);
    }
    match state {
        State::Starting => return Verdict::Excluded(Exclusion::Starting),
        State::Unhealthy => return Verdict::Excluded(Exclusion::Unhealthy),
        State::Draining => return Verdict::Excluded(Exclusion::Draining),
        State::Saturated => return Verdict::Excluded(Exclusion::Saturated),
        State::Ok | State::NoMetrics => {}
    }
    if rules.threshold.is_some_and(|most| facts.sessions >= most) {
        return Verdict::Excluded(Exclusion::Full);
    }
    let short = |floor| facts.memory_free_mb.is_some_and(|free| free < floor);
    if rules.memory_floor.is_some_and(short) {
        return Verdict::Excluded(Exclusion::LowMemory);
    }
    match standing.trust {
        Trust::Clear => Verdict::Eligible,
        Trust::TrialDue => Verdict::TrialDue,
        Trust::Suspect => Verdict::Excluded(Exclusion::Suspect),
    }
}

/// How many engines were excluded, and why: it explains a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions(Vec<(Exclusion, u32)>);

impl Exclusions {
    pub(super) fn count(&mut self, why: Exclusion) {
        match self.0.iter_mut().find(|(same, _)| *same == why) {
            Some((_, count)) => *count += 1,
            None => self.0.push((why, 1)),
        }
    }

    pub(super) fn uncount(&mut self, why: Exclusion) {
        if let Some((_, count)) = self.0.iter_mut().find(|(same, _)| *same == why) {
            *count = count.saturating_sub(1);
        }
        self.0.retain(|(_, count)| *count > 0);
    }

    /// So many of those that were tried were found full.
    pub fn found_full(&mut self, engines: usize) {
        for _ in 0..engines {
            self.uncount(Exclusion::Tried);
            self.count(Exclusion::Full);
        }
    }

    /// The whole pool is full.
    #[must_use]
    pub fn pool_full() -> Self {
        Self(vec![(Exclusion::PoolFull, 1)])
    }

    /// Some engine is up and has no room; otherwise none is up.
    #[must_use]
    pub fn for_want_of_room(&self) -> bool {
        self.0.iter().any(|(why, _)| why.is_for_want_of_room())
    }
}

impl fmt::Display for Exclusions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no engine is known");
        }
        for (n, (why, count)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {}", why.as_str())?;
        }
        Ok(())
    }
}
