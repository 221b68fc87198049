//! The entry point of one pool: decides, and reserves on the chosen engine under the same lock. How a decision is made
//! is in `decision`; where the engines come from is not known here.

use crate::EngineIndex;
use crate::accounting::{Reservation, Trial};
use crate::affinity::DocumentKey;
use crate::capacity_ledger::Most;
use crate::cost::Kind;
use crate::decision::{Decision, Pick};
use crate::engine::{Engine, EngineName};
use crate::explain::{Explanation, explain};
use crate::filter::{Eligibility, Exclusions};
use crate::pool::PoolMembers;
use crate::strategy::{Strategy, Weights};
use rand::Rng;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How a pool chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rules {
    /// How engines are scored and picked.
    pub strategy: Strategy,
    /// Maximum number of sessions per engine.
    pub threshold: Option<u32>,
    /// Maximum number of sessions on all engines together.
    pub per_pool: Option<u32>,
    /// Free memory, MB, below which an engine gets no new session.
    pub memory_floor: Option<f64>,
    /// How long the share of a new engine grows.
    pub slow_start: Duration,
    /// Weights of the scores.
    pub weights: Weights,
}

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The document that the session opens.
    pub document: Option<&'a str>,
    /// Engines that this placement has tried.
    pub tried: &'a [EngineName],
    /// The current time.
    pub now: Instant,
}

/// A chosen engine with its reservation.
#[derive(Debug)]
pub struct Choice {
    /// The engine as in the snapshot.
    pub engine: Arc<Engine>,
    /// Counts on the engine until it is placed or dropped.
    pub reservation: Reservation,
    /// The engine holds the document, as far as is known.
    pub held: bool,
    /// Set when no engine but an ejected one is left, and this placement is its trial.
    pub trial: Option<Trial>,
    /// An ejected engine whose trial is due, to be tried in the background.
    pub rehearsal: Option<Rehearsal>,
}

/// A trial of an ejected engine without a client.
#[derive(Debug)]
pub struct Rehearsal {
    /// The ejected engine.
    pub engine: Arc<Engine>,
    /// Permits this trial, and no second one until it is dropped.
    pub trial: Trial,
}

/// Chooses engines for one pool.
pub struct Chooser {
    rules: Rules,
    state: Mutex<State>,
}

struct State {
    rules: Rules,
    pool: PoolMembers,
    random: Box<dyn Rng + Send>,
    /// Number of the latest placement.
    turn: u64,
}

/// Which engines a decision reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// All, or a sample where that gives as good a decision.
    Sample,
    All,
}

impl Chooser {
    /// A scheduler without engines: each call brings the current snapshot.
    #[must_use]
    pub fn new(rules: Rules, mut random: Box<dyn Rng + Send>) -> Self {
        let pool = PoolMembers::new(random.next_u64());
        let state = State {
            rules,
            pool,
            random,
            turn: 0,
        };
        Self {
            rules,
            state: Mutex::new(state),
        }
    }

    /// Maximum numbers of sessions: on one engine, and in the pool.
    #[must_use]
    pub const fn most(&self) -> Most {
        (self.rules.threshold, self.rules.per_pool)
    }

    /// The pool's strategy.
    #[must_use]
    pub const fn strategy(&self) -> Strategy {
        self.rules.strategy
    }

    /// Chooses among `engines` and reserves.
    ///
    /// # Errors
    /// When no engine is eligible: the reasons.
    pub fn choose(
        &self,
        engines: &Arc<[Arc<Engine>]>,
        ask: &Ask<'_>,
    ) -> Result<Choice, Exclusions> {
        let mut state = self.lock(engines, ask.now);
        let decision = state.decide(ask, Scope::Sample);
        state.reserve(&decision, ask)
    }

    /// Chooses and reserves as [`Self::choose`] does, and explains the decision. Reads every engine.
    pub fn choose_explained(
        &self,
        engines: &Arc<[Arc<Engine>]>,
        ask: &Ask<'_>,
    ) -> (Result<Choice, Exclusions>, Explanation) {
        let mut state = self.lock(engines, ask.now);
        let decision = state.decide(ask, Scope::All);
        let explanation = explain(&decision, &state.pool, &state.rules, ask);
        (state.reserve(&decision, ask), explanation)
    }

    /// What [`Self::choose`] would do, and why. Reserves nothing.
    pub fn explain(&self, engines: &Arc<[Arc<Engine>]>, ask: &Ask<'_>) -> Explanation {
        let mut state = self.lock(engines, ask.now);
        let decision = state.decide(ask, Scope::All);
        explain(&decision, &state.pool, &state.rules, ask)
    }

    /// Sessions that the pool can still take; `None` when nothing limits them.
    pub fn room(&self, engines: &Arc<[Arc<Engine>]>, now: Instant) -> Option<u64> {
        let Rules {
            threshold,
            per_pool,
            ..
        } = self.rules;
        if threshold.is_none() && per_pool.is_none() {
            return None;
        }
        let ask = Ask {
            document: None,
            tried: &[],
            now,
        };
        let state = self.lock(engines, now);
        let candidates = state
            .pool
            .candidates(state.pool.indices(), &state.rules, &ask);
        drop(state);
        let sessions: u64 = candidates.iter().map(|c| u64::from(c.sessions)).sum();
        let per_pool = per_pool.map(|max| u64::from(max).saturating_sub(sessions));
        let per_engine = threshold.map(|max| {
            let eligible = candidates.iter().filter(|c| c.is_eligible());
            eligible
                .map(|c| u64::from(max.saturating_sub(c.sessions)))
                .sum()
        });
        per_pool.into_iter().chain(per_engine).min()
    }

    fn lock(&self, engines: &Arc<[Arc<Engine>]>, now: Instant) -> MutexGuard<'_, State> {
        // No code under the lock can panic half-way through a change.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pool.sync(engines, now);
        state
    }
}

impl State {
    fn document(&self, ask: &Ask<'_>) -> Option<DocumentKey> {
        ask.document.map(|name| self.pool.holders.key(name))
    }

    fn decide(&mut self, ask: &Ask<'_>, scope: Scope) -> Decision {
        // The pool's limit needs the sessions of all engines, and packed the first engine that is not full.
        let is_exact = self.rules.per_pool.is_some() || self.rules.strategy == Strategy::Packed;
        if scope == Scope::Sample && !is_exact {
            let document = self.document(ask);
            if let Some(sample) = self.pool.sample(document, &mut *self.random) {
                let decision = self.decide_among(sample.into_iter(), ask);
                if decision.pick.is_some_and(|pick| !pick.half_open) {
                    return decision;
                }
            }
        }
        self.decide_among(self.pool.indices(), ask)
    }

    fn decide_among(
        &mut self,
        indices: impl Iterator<Item = EngineIndex>,
        ask: &Ask<'_>,
    ) -> Decision {
        let document = self.document(ask);
        let candidates = self.pool.candidates(indices, &self.rules, ask);
        let mut decision = Decision::new(candidates, &self.rules, self.turn + 1);
        let holders = &self.pool.holders;
        decision.pick(&self.rules, holders, document, ask.now, &mut *self.random);
        decision
    }

    /// Reserves on the picked engine.
    fn reserve(&mut self, decision: &Decision, ask: &Ask<'_>) -> Result<Choice, Exclusions> {
        let pick = decision.pick.and_then(|pick| {
            let engine = self.pool.engine(pick.index)?;
            Some((pick, Arc::clone(engine)))
        });
        let Some((pick, engine)) = pick else {
            return Err(decision.exclusions());
        };
        let Pick {
            index,
            held,
            half_open,
        } = pick;
        let (trial, rehearsal) = if half_open {
            (engine.tally.begin_trial(ask.now), None)
        } else {
            (None, self.background_trial(decision, ask.now))
        };
        self.turn += 1;
        let document = self.document(ask);
        let kind = Kind {
            document: document.map(DocumentKey::number),
            held,
        };
        let reservation = engine.tally.reserve_for(self.turn, kind);
        if let Some(document) = document {
            self.pool.holders.placed(document, index, held, ask.now);
        }
        Ok(Choice {
            engine,
            reservation,
            held,
            trial,
            rehearsal,
        })
    }

    /// Begins the trial of an ejected engine, if one is due.
    fn background_trial(&self, decision: &Decision, now: Instant) -> Option<Rehearsal> {
        let candidates = decision.candidates.iter();
        let mut due = candidates.filter(|c| c.eligibility == Eligibility::TrialDue);
        due.find_map(|candidate| {
            let engine = Arc::clone(self.pool.engine(candidate.index)?);
            let trial = engine.tally.begin_trial(now)?;
            Some(Rehearsal { engine, trial })
        })
    }
}
