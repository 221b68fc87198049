//! Chooses an engine: eligibility first, then one strategy among the eligible. Choosing and reserving
//! is one step under one short lock, so that concurrent placements see each other. Time and randomness
//! are arguments.

pub mod accounting;
mod affinity;
pub mod candidate;
pub mod capacity_ledger;
pub mod circuit_breaker;
pub mod cost;
mod eligible_set;
pub mod engine;
pub mod explain;
pub mod filter;
mod index;
mod max_index;
pub mod score;
mod strategies;
pub mod strategy;
pub mod stream_holder;

use crate::accounting::{Reservation, Trial};
use crate::capacity_ledger::Most;
use crate::cost::Kind;
use crate::engine::{Engine, EngineName};
use crate::strategy::{Strategy, Weights};
use affinity::DocumentKey;
use explain::Explanation;
use filter::Exclusions;
use index::{Board, Pick};
use rand::Rng;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Engines that one choice passes over at the most because they have come up a moment ago. Who adds more at
/// once has them share what comes.
const PASSED: usize = 64;

/// What a choice has come to.
#[derive(Debug, Default)]
struct Search {
    pick: Option<Pick>,
    /// Those that were passed over because they have come up a moment ago.
    passed: Vec<Pick>,
}

/// The place of an engine in its pool's snapshot.
type Slot = u32;

/// How a pool chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rules {
    /// Which scores, and how to pick among them.
    pub strategy: Strategy,
    /// Sessions per engine at the most.
    pub threshold: Option<u32>,
    /// Sessions on all engines together at the most.
    pub per_pool: Option<u32>,
    /// Free memory, MB, below which an engine gets nothing new.
    pub memory_floor: Option<f64>,
    /// How long the weight of an engine that has come up grows.
    pub slow_start: Duration,
    /// What each score counts.
    pub weights: Weights,
}

/// What a session asks for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The document that it opens.
    pub document: Option<&'a str>,
    /// Engines that this placement has tried.
    pub tried: &'a [EngineName],
    /// The time.
    pub now: Instant,
}

/// A chosen engine with its reservation.
#[derive(Debug)]
pub struct Choice {
    /// The engine as the snapshot had it.
    pub engine: Arc<Engine>,
    /// Counts from now on.
    pub reservation: Reservation,
    /// The engine holds the document, as far as is known.
    pub held: bool,
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

impl Board {
    /// Begins the trial of a suspect, if one is due.
    fn rehearsal(&mut self, now: Instant) -> Option<Rehearsal> {
        self.due().into_iter().find_map(|slot| {
            let engine = Arc::clone(self.engine(slot)?);
            let trial = engine.tally.begin_trial(now);
            self.look(slot, now);
            Some(Rehearsal {
                engine,
                trial: trial?,
            })
        })
    }
}

/// Chooses for one pool.
pub struct Chooser {
    rules: Rules,
    state: Mutex<State>,
}

struct State {
    board: Board,
    /// The number of the latest choice.
    turn: u64,
}

impl Chooser {
    /// Knows no engine until it is asked.
    #[must_use]
    pub fn new(rules: Rules, random: Box<dyn Rng + Send>) -> Self {
        let board = Board::new(rules, random);
        Self {
            rules,
            state: Mutex::new(State { board, turn: 0 }),
        }
    }

    /// Sessions at the most: on one engine, and on all together.
    #[must_use]
    pub const fn most(&self) -> Most {
        (self.rules.threshold, self.rules.per_pool)
    }

    /// The strategy it was made with.
    #[must_use]
    pub const fn strategy(&self) -> Strategy {
        self.rules.strategy
    }

    /// Chooses among `engines` and reserves.
    ///
    /// # Errors
    /// When no engine is eligible: why not.
    pub fn choose(
        &self,
        engines: &Arc<[Arc<Engine>]>,
        ask: &Ask<'_>,
    ) -> Result<Choice, Exclusions> {
        self.with_board(engines, ask, |state| {
            let document = state.document(ask);
            let found = state.find(document, ask);
            state.take(found.pick, document, ask)
        })
    }

    /// Chooses and reserves as [`Self::choose`] does, and tells what it looked at.
    pub fn choose_explained(
        &self,
        engines: &Arc<[Arc<Engine>]>,
        ask: &Ask<'_>,
    ) -> (Result<Choice, Exclusions>, Explanation) {
        self.with_board(engines, ask, |state| {
            let document = state.document(ask);
            let found = state.find(document, ask);
            let why = explain::explain(&state.board, ask, &found);
            (state.take(found.pick, document, ask), why)
        })
    }

    /// What [`Self::choose`] would do, and why. Nothing is reserved.
    pub fn explain(&self, engines: &Arc<[Arc<Engine>]>, ask: &Ask<'_>) -> Explanation {
        self.with_board(engines, ask, |state| {
            let found = state.find(state.document(ask), ask);
            explain::explain(&state.board, ask, &found)
        })
    }

    /// Sessions that the pool can still take; `None` when nothing limits them.
    pub fn room(&self, engines: &Arc<[Arc<Engine>]>, now: Instant) -> Option<u64> {
        let ask = Ask {
            document: None,
            tried: &[],
            now,
        };
        self.with_board(engines, &ask, |state| state.board.room())
    }

    fn with_board<T>(
        &self,
        engines: &Arc<[Arc<Engine>]>,
        ask: &Ask<'_>,
        act: impl FnOnce(&mut State) -> T,
    ) -> T {
        // Nothing within can panic half-way through a change.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = state.turn + 1;
        state.board.follow(engines, ask.now, turn);
        if ask.tried.is_empty() {
            return act(&mut state);
        }
        let left_out = state.board.leave_out(ask.tried);
        let result = act(&mut state);
        for slot in left_out {
            state.board.look(slot, ask.now);
        }
        result
    }
}

impl State {
    fn document(&self, ask: &Ask<'_>) -> Option<DocumentKey> {
        ask.document.map(|name| self.board.holders.key(name))
    }

    /// The engine to take: one that is open, else a suspect whose trial is due.
    fn find(&mut self, document: Option<DocumentKey>, ask: &Ask<'_>) -> Search {
        let board = &mut self.board;
        if board.is_full() {
            return Search::default();
        }
        let (mut pick, mut passed) = (None, Vec::new());
        while let Some(next) = board.pick(document) {
            // What is found closed here is not picked again.
            if !board.is_still_open(next.slot, ask.now) {
                continue;
            }
            if board.is_warm_enough(next.slot, ask.now) {
                pick = Some(next);
                break;
            }
            if passed.len() == PASSED {
                break;
            }
            passed.push(next);
            board.pass_over(next.slot);
        }
        for pick in &passed {
            board.look(pick.slot, ask.now);
        }
        // Slow start is no reason to refuse anybody.
        let pick = pick.or_else(|| passed.first().copied()).or_else(|| {
            board.due().into_iter().find_map(|slot| {
                board.look(slot, ask.now);
                let held = document.is_some_and(|key| board.holders.holds(key, slot));
                board.is_due(slot).then_some(Pick { slot, held })
            })
        });
        Search { pick, passed }
    }

    /// Reserves on the engine that was found.
    fn take(
        &mut self,
        found: Option<Pick>,
        document: Option<DocumentKey>,
        ask: &Ask<'_>,
    ) -> Result<Choice, Exclusions> {
        let board = &mut self.board;
        let found = found.and_then(|pick| Some((pick, Arc::clone(board.engine(pick.slot)?))));
        let Some((Pick { slot, held }, engine)) = found else {
            return Err(board.excluded());
        };
        let (trial, rehearsal) = if board.is_due(slot) {
            (engine.tally.begin_trial(ask.now), None)
        } else {
            (None, board.rehearsal(ask.now))
        };
        self.turn += 1;
        let kind = Kind {
            document: document.map(DocumentKey::number),
            held,
        };
        let guess = || board.guess(kind);
        let tally = &engine.tally;
        let (reservation, standing) = tally.reserve_for(self.turn, kind, guess, ask.now);
        board.see(slot, &standing);
        if let Some(document) = document {
            board.holders.placed(document, slot, held, ask.now);
        }
        Ok(Choice {
            engine,
            reservation,
            held,
            trial,
            rehearsal,
        })
    }
}

#[cfg(test)]
mod tests;
