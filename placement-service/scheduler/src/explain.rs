//! Why this engine and not the others: what a decision knew of each engine, and what became of it. Computed from the
//! decision itself, with the code that made it.

use super::candidate::Candidate;
use super::decision::Decision;
use super::filter::{Eligibility, FilterReason};
use super::pool::PoolMembers;
use super::score::Score;
use super::strategies;
use super::{EngineIndex, Rules, SchedulingRequest};
use crate::engine::{EngineName, State};
use crate::strategy::Strategy;

/// A decision and everything that it read.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The pool's strategy.
    pub strategy: Strategy,
    /// The document that the session opens.
    pub document: Option<String>,
    /// The engine that was, or would have been, selected.
    pub selected: Option<EngineName>,
    /// Every engine of the pool, in the order of the snapshot.
    pub engines: Vec<ExplainedEngine>,
}

impl Explanation {
    /// Marks engines that the ledger found full.
    pub fn mark_full(&mut self, engines: &[EngineName]) {
        for engine in &mut self.engines {
            if engines.contains(&engine.engine) {
                engine.outcome = Outcome::Excluded(FilterReason::Full);
            }
        }
    }
}

/// One engine in an explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedEngine {
    /// Its name.
    pub engine: EngineName,
    /// As of the last probe.
    pub state: State,
    /// Sessions of the last probe, and those that the probe cannot have seen.
    pub sessions: u32,
    /// How many of them no probe has seen.
    pub reserved: u32,
    /// Free share of its memory, 0 to 1; absent when it is not known.
    pub memory_free: Option<f64>,
    /// Free share of its CPU, 0 to 1; absent when it is not known.
    pub cpu_free: Option<f64>,
    /// Its slow-start weight, 0 to 1.
    pub slow_start_weight: f64,
    /// It holds the document.
    pub holds_document: bool,
    /// Its scores; empty when it was not eligible.
    pub scores: Vec<Score>,
    /// The weighted mean of the scores, plus the document's weight if it holds the document.
    pub total: Option<f64>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an engine in a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was selected.
    Selected,
    /// It was eligible, and another one had a higher score.
    Outscored,
    /// It was eligible, and another one was drawn.
    NotDrawn,
    /// It was eligible, and slow start kept it out of this decision.
    WarmingUp,
    /// It was not eligible.
    Excluded(FilterReason),
}

impl Outcome {
    /// The constant for answers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Selected => "selected",
            Self::Outscored => "outscored",
            Self::NotDrawn => "not-drawn",
            Self::WarmingUp => "warming-up",
            Self::Excluded(reason) => reason.as_str(),
        }
    }
}

/// Describes a decision. `selected` is the engine that was, or would have been, selected.
pub(super) fn explain(
    decision: &Decision,
    pool: &PoolMembers,
    rules: &Rules,
    request: &SchedulingRequest<'_>,
) -> Explanation {
    let document = request.document.map(|name| pool.holders.key(name));
    let selected = decision.pick.map(|pick| pick.index);
    let explain_candidate = |(index, candidate): (EngineIndex, &Candidate)| {
        let engine = pool.engine(index)?;
        let holds_document = document.is_some_and(|key| pool.holders.holds(key, index));
        let scores = candidate
            .is_eligible()
            .then(|| strategies::scores(rules, candidate, &decision.baseline));
        let bonus = if holds_document {
            rules.weights.document
        } else {
            0.0
        };
        let outcome = match candidate.eligibility {
            Eligibility::Eligible if decision.is_pool_full => {
                Outcome::Excluded(FilterReason::PoolFull)
            }
            _ if selected == Some(index) => Outcome::Selected,
            Eligibility::Eligible if decision.throttled.binary_search(&index).is_ok() => {
                Outcome::WarmingUp
            }
            Eligibility::Eligible if strategies::is_random(rules.strategy) => Outcome::NotDrawn,
            Eligibility::Eligible => Outcome::Outscored,
            Eligibility::Excluded(reason) => Outcome::Excluded(reason),
            Eligibility::HalfOpen => Outcome::Excluded(FilterReason::Ejected),
        };
        Some(ExplainedEngine {
            engine: engine.name.clone(),
            state: engine.state,
            sessions: candidate.sessions,
            reserved: candidate.reserved,
            memory_free: candidate.memory,
            cpu_free: candidate.cpu,
            slow_start_weight: candidate.slow_start_weight(rules.slow_start, request.now),
            holds_document,
            scores: scores.map_or_else(Vec::new, |scores| scores.iter().collect()),
            total: scores.map(|scores| scores.total() + bonus),
            outcome,
        })
    };
    Explanation {
        strategy: rules.strategy,
        document: request.document.map(str::to_owned),
        selected: selected.and_then(|index| Some(pool.engine(index)?.name.clone())),
        engines: pool.candidates().filter_map(explain_candidate).collect(),
    }
}
