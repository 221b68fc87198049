//! Chooses an engine: eligibility first, then one strategy among the eligible. Choosing and reserving
//! is one step under one short lock, so that concurrent placements see each other. Time and randomness
//! are arguments.

pub mod eligibility;
mod least_load;
mod round_robin;
mod weighted;

use crate::config::Strategy;
use crate::engine::{Engine, EngineName};
use crate::reservation::{Reservation, Trial};
use eligibility::{Exclusions, Verdict};
use rand::Rng;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// An eligible engine, with what a strategy may look at.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// As of the last probe.
    pub engine: &'a Arc<Engine>,
    /// Sessions now: those of the last probe, and what has changed since.
    pub sessions: u32,
    /// The turn in which round-robin last chose it.
    pub turn: u64,
}

/// Candidates, at least one.
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    first: Candidate<'a>,
    rest: Vec<Candidate<'a>>,
}

impl<'a> Candidates<'a> {
    /// `None` when there is not even one.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = Candidate<'a>>) -> Option<Self> {
        let mut all = all.into_iter();
        Some(Self {
            first: all.next()?,
            rest: all.collect(),
        })
    }

    /// The first: a choice that is always there.
    #[must_use]
    pub const fn first(&self) -> Candidate<'a> {
        self.first
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = Candidate<'a>> + Clone + '_ {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }
}

/// A chosen engine with its reservation.
#[derive(Debug)]
pub struct Choice {
    /// The engine as the snapshot had it.
    pub engine: Arc<Engine>,
    /// Counts from now on.
    pub reservation: Reservation,
    /// Set when the engine is suspect and this placement is its trial, because there is no other.
    pub trial: Option<Trial>,
    /// A suspect engine whose trial is due and may be run beside the placement.
    pub rehearsal: Option<Rehearsal>,
}

/// A suspect engine that is due for a trial at nobody's cost.
#[derive(Debug)]
pub struct Rehearsal {
    /// The suspect.
    pub engine: Arc<Engine>,
    /// The right to try it.
    pub trial: Trial,
}

/// Chooses for one pool.
pub struct Chooser {
    strategy: Strategy,
    threshold: Option<u32>,
    state: Mutex<ChooserState>,
}

struct ChooserState {
    turn: u64,
    random: Box<dyn Rng + Send>,
}

impl Chooser {
    /// `threshold`: sessions per engine at the most.
    #[must_use]
    pub fn new(strategy: Strategy, threshold: Option<u32>, random: Box<dyn Rng + Send>) -> Self {
        Self {
            strategy,
            threshold,
            state: Mutex::new(ChooserState { turn: 0, random }),
        }
    }

    /// The strategy it was made with.
    #[must_use]
    pub const fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// Chooses among `engines`, except those `tried` already, and reserves.
    ///
    /// # Errors
    /// When no engine is eligible: why not.
    pub fn choose(
        &self,
        engines: &[Arc<Engine>],
        tried: &[EngineName],
        now: Instant,
    ) -> Result<Choice, Exclusions> {
        // Nothing within can panic half-way through a change.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut excluded = Exclusions::default();
        let mut due = Vec::new();
        let mut eligible = Vec::with_capacity(engines.len());
        for engine in engines {
            let standing = engine.tally.standing(now);
            let candidate = Candidate {
                engine,
                sessions: standing.sessions(engine.load.as_ref().and_then(|l| l.sessions)),
                turn: standing.turn,
            };
            match eligibility::judge(&candidate, standing.trust, self.threshold, tried) {
                Verdict::Eligible => eligible.push(candidate),
                Verdict::TrialDue => due.push(candidate),
                Verdict::Excluded(why) => excluded.count(why),
            }
        }
        let rehearse = !eligible.is_empty();
        let begin = |c: &Candidate<'_>| {
            let trial = c.engine.tally.begin_trial(now)?;
            let engine = Arc::clone(c.engine);
            Some(Rehearsal { engine, trial })
        };
        let mut rehearsal = rehearse.then(|| due.iter().find_map(begin)).flatten();
        let candidates = if rehearse { eligible } else { due };
        let Some(candidates) = Candidates::new(candidates) else {
            return Err(excluded);
        };
        let chosen = self.pick(&candidates, &mut *state.random);
        let trial = if rehearse {
            None
        } else {
            chosen.engine.tally.begin_trial(now)
        };
        state.turn += 1;
        Ok(Choice {
            engine: Arc::clone(chosen.engine),
            reservation: chosen.engine.tally.reserve(state.turn),
            trial,
            rehearsal: rehearsal.take(),
        })
    }

    fn pick<'a>(&self, candidates: &Candidates<'a>, random: &mut dyn Rng) -> Candidate<'a> {
        match self.strategy {
            Strategy::RoundRobin => round_robin::pick(candidates),
            Strategy::LeastLoad => least_load::pick(candidates, random),
            Strategy::Weighted => weighted::pick(candidates, self.threshold, random),
        }
    }
}

#[cfg(test)]
mod tests;
