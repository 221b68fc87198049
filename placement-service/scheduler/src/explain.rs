//! Why this engine and not the others: what the chooser knew of each engine at the moment of a choice, in
//! the words of the same code that chose.

use super::filter::{Exclusion, Verdict};
use super::index::Board;
use super::score::Score;
use super::strategies;
use super::{Ask, Search};
use crate::engine::{EngineName, State};
use crate::strategy::Strategy;

/// A choice and everything that it looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Of the pool.
    pub strategy: Strategy,
    /// That the session opens.
    pub document: Option<String>,
    /// The engine that was, or would have been, chosen.
    pub chosen: Option<EngineName>,
    /// Every engine of the pool, in the order of the snapshot.
    pub engines: Vec<Judged>,
}

impl Explanation {
    /// The replicas' ledger has told that these are full.
    pub fn found_full(&mut self, engines: &[EngineName]) {
        for judged in &mut self.engines {
            if engines.contains(&judged.engine) {
                judged.outcome = Outcome::Excluded(Exclusion::Full);
            }
        }
    }
}

/// One engine in an explanation.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Its name.
    pub engine: EngineName,
    /// As of the last probe.
    pub state: State,
    /// Sessions of the last probe and those that it cannot know yet.
    pub sessions: u32,
    /// How many of them are reservations.
    pub reserved: u32,
    /// Free share of its memory, 0 to 1; absent when it is not known.
    pub memory_free: Option<f64>,
    /// Free share of its CPU, 0 to 1; absent when it is not known.
    pub cpu_free: Option<f64>,
    /// The share of its weight that it has after it came up, 0 to 1.
    pub warmth: f64,
    /// It holds the document.
    pub holds_document: bool,
    /// What the strategy weighed; empty when it was not eligible.
    pub scores: Vec<Score>,
    /// The weighted mean of the scores, and the document's weight where it is held.
    pub total: Option<f64>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an engine in a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was chosen.
    Chosen,
    /// It was eligible, and another had more.
    Outscored,
    /// It was eligible, and the draw fell on another.
    NotDrawn,
    /// It was eligible and has come up so recently that it was passed over.
    WarmingUp,
    /// It was not eligible.
    Excluded(Exclusion),
}

impl Outcome {
    /// The constant for answers and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Outscored => "outscored",
            Self::NotDrawn => "not-drawn",
            Self::WarmingUp => "warming-up",
            Self::Excluded(why) => why.as_str(),
        }
    }
}

/// Tells what is on the board, where that was found.
pub(super) fn explain(board: &Board, ask: &Ask<'_>, found: &Search) -> Explanation {
    let Ask { document, now, .. } = *ask;
    let strategy = board.rules.strategy;
    let key = document.map(|name| board.holders.key(name));
    let chosen = found.pick.map(|pick| pick.slot);
    let passed = |slot| found.passed.iter().any(|pick| pick.slot == slot);
    let judged = |slot| {
        let (engine, entry) = (board.engine(slot)?, board.entry(slot)?);
        let holds_document = key.is_some_and(|key| board.holders.holds(key, slot));
        let eligible = matches!(entry.verdict, Some(Verdict::Eligible));
        let scores = eligible.then(|| board.scores(entry));
        let extra = if holds_document {
            board.rules.weights.document
        } else {
            0.0
        };
        let warmth = entry.facts.warmth(board.rules.slow_start, now);
        let outcome = match entry.verdict {
            Some(Verdict::Eligible) if board.is_full() => Outcome::Excluded(Exclusion::PoolFull),
            _ if chosen == Some(slot) => Outcome::Chosen,
            Some(Verdict::Eligible) if passed(slot) => Outcome::WarmingUp,
            Some(Verdict::Eligible) if strategies::draws(strategy) => Outcome::NotDrawn,
            Some(Verdict::Eligible) => Outcome::Outscored,
            Some(Verdict::Excluded(why)) => Outcome::Excluded(why),
            Some(Verdict::TrialDue) | None => Outcome::Excluded(Exclusion::Suspect),
        };
        Some(Judged {
            engine: engine.name.clone(),
            state: engine.state,
            sessions: entry.facts.sessions,
            reserved: entry.facts.reserved,
            memory_free: entry.facts.memory,
            cpu_free: entry.facts.cpu,
            warmth,
            holds_document,
            scores: scores.map_or_else(Vec::new, |scores| scores.iter().collect()),
            total: scores.map(|scores| scores.total() + extra),
            outcome,
        })
    };
    Explanation {
        strategy,
        document: document.map(str::to_owned),
        chosen: chosen.and_then(|slot| Some(board.engine(slot)?.name.clone())),
        engines: board.slots().filter_map(judged).collect(),
    }
}
