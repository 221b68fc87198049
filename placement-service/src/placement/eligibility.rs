//! Whether an engine may get a session at all. Which of the eligible gets it is the strategy's affair.

use super::{Candidate, NoChoice};
use crate::engine::{EngineName, State};
use crate::suspicion::Trust;

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
    /// A placement failed there a moment ago.
    Suspect,
}

/// Judges one engine. `threshold`: sessions per engine at the most.
#[must_use]
pub fn judge(
    candidate: &Candidate<'_>,
    trust: Trust,
    threshold: Option<u32>,
    tried: &[EngineName],
) -> Verdict {
    let engine = candidate.engine;
    if tried.contains(&engine.name) {
        return Verdict::Excluded(Exclusion::Tried);
    }
    match engine.state {
        State::Starting => return Verdict::Excluded(Exclusion::Starting),
        State::Unhealthy => return Verdict::Excluded(Exclusion::Unhealthy),
        State::Saturated => return Verdict::Excluded(Exclusion::Saturated),
        State::Ok | State::NoMetrics => {}
    }
    if threshold.is_some_and(|most| candidate.sessions >= most) {
        return Verdict::Excluded(Exclusion::Full);
    }
    match trust {
        Trust::Clear => Verdict::Eligible,
        Trust::TrialDue => Verdict::TrialDue,
        Trust::Suspect => Verdict::Excluded(Exclusion::Suspect),
    }
}

/// Counts of exclusions: they explain a refusal.
#[derive(Debug, Default)]
pub struct Exclusions {
    without_room: u32,
}

impl Exclusions {
    pub(super) const fn count(&mut self, why: Exclusion) {
        match why {
            Exclusion::Saturated | Exclusion::Full => self.without_room += 1,
            Exclusion::Tried | Exclusion::Starting | Exclusion::Unhealthy | Exclusion::Suspect => {}
        }
    }

    /// An engine that is up but has no room means "full"; none of them, "none up".
    pub(super) const fn no_choice(&self) -> NoChoice {
        if self.without_room > 0 {
            NoChoice::AllFull
        } else {
            NoChoice::NoneUp
        }
    }
}
