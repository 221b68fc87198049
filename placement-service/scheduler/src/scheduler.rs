//! The entry point of one pool: decides, and reserves on the chosen engine under the same lock. How a decision is made
//! is in `decision`; where the engines come from is not known here.

use crate::accounting::{HalfOpenPermit, Reservation};
use crate::affinity::DocumentKey;
use crate::capacity_ledger::CapacityLimits;
use crate::cost::CostKey;
use crate::decision::{Decision, Pick, trials_due};
use crate::engine::{Engine, EngineName};
use crate::explain::{Explanation, explain};
use crate::filter::FilterReasons;
use crate::pool::PoolMembers;
use crate::strategy::{Strategy, Weights};
use parking_lot::{Mutex, MutexGuard};
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How a pool chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rules {
    /// How engines are scored and picked.
    pub strategy: Strategy,
    /// Maximum number of sessions per engine.
    pub per_engine: Option<u32>,
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
pub struct SchedulingRequest<'a> {
    /// The document that the session opens.
    pub document: Option<&'a str>,
    /// The weight of the document; `None`: the pool's.
    pub document_weight: Option<f64>,
    /// Engines that this placement has tried.
    pub tried: &'a [EngineName],
    /// The current time.
    pub now: Instant,
}

/// A chosen engine with its reservation.
#[derive(Debug)]
pub struct Selection {
    /// The engine as in the snapshot.
    pub engine: Arc<Engine>,
    /// Counts on the engine until it is placed or dropped.
    pub reservation: Reservation,
    /// The engine holds the document, as far as is known.
    pub document_loaded: bool,
    /// Set when no engine but an ejected one is left, and this placement is its trial.
    pub trial: Option<HalfOpenPermit>,
    /// An ejected engine whose trial is due, to be tried in the background.
    pub background_trial: Option<BackgroundTrial>,
}

/// A trial of an ejected engine without a client.
#[derive(Debug)]
pub struct BackgroundTrial {
    /// The ejected engine.
    pub engine: Arc<Engine>,
    /// Permits this trial, and no second one until it is dropped.
    pub trial: HalfOpenPermit,
}

/// Chooses engines for one pool.
pub struct Scheduler {
    rules: Rules,
    state: Mutex<State>,
}

struct State {
    pool: PoolMembers,
    random: Box<dyn Rng + Send>,
    /// Number of the latest placement.
    turn: u64,
}

impl Scheduler {
    /// A scheduler without engines: each call brings the current snapshot.
    #[must_use]
    pub fn new(rules: Rules, mut random: Box<dyn Rng + Send>) -> Self {
        let pool = PoolMembers::new(random.next_u64());
        let state = State {
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
    pub const fn limits(&self) -> CapacityLimits {
        (self.rules.per_engine, self.rules.per_pool)
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
    pub fn select(
        &self,
        engines: &Arc<[Arc<Engine>]>,
        request: &SchedulingRequest<'_>,
    ) -> Result<Selection, FilterReasons> {
        let mut state = self.lock(engines, request);
        let decision = state.decide_among_sample(&self.rules, request);
        state.reserve(&decision, request)
    }

    /// Chooses and reserves as [`Self::select`] does, and explains the decision. Scores all engines.
    pub fn select_explained(
        &self,
        engines: &Arc<[Arc<Engine>]>,
        request: &SchedulingRequest<'_>,
    ) -> (Result<Selection, FilterReasons>, Explanation) {
        let mut state = self.lock(engines, request);
        let decision = state.decide(&self.rules, request);
        let explanation = explain(&decision, &state.pool, &self.rules, request);
        (state.reserve(&decision, request), explanation)
    }

    /// What [`Self::select`] would do, and why. Reserves nothing.
    pub fn explain(
        &self,
        engines: &Arc<[Arc<Engine>]>,
        request: &SchedulingRequest<'_>,
    ) -> Explanation {
        let mut state = self.lock(engines, request);
        let decision = state.decide(&self.rules, request);
        explain(&decision, &state.pool, &self.rules, request)
    }

    /// Sessions that the pool can still take; `None` when nothing limits them.
    pub fn available_sessions(&self, engines: &Arc<[Arc<Engine>]>, now: Instant) -> Option<u64> {
        let request = SchedulingRequest {
            document_weight: None,
            document: None,
            tried: &[],
            now,
        };
        let state = self.lock(engines, &request);
        let per_pool = self.rules.per_pool.map(u64::from);
        let per_pool = per_pool.map(|max| max.saturating_sub(state.pool.sessions()));
        let per_engine = self.rules.per_engine.map(|max| {
            let eligible = state.pool.candidates().filter(|(_, c)| c.is_eligible());
            let free_sessions = eligible.map(|(_, c)| u64::from(max.saturating_sub(c.sessions)));
            free_sessions.sum()
        });
        per_pool.into_iter().chain(per_engine).min()
    }

    fn lock(
        &self,
        engines: &Arc<[Arc<Engine>]>,
        request: &SchedulingRequest<'_>,
    ) -> MutexGuard<'_, State> {
        // No code under the lock can panic half-way through a change.
        let mut state = self.state.lock();
        state.pool.sync(engines, &self.rules, request.now);
        state.pool.exclude_tried(request.tried, request.now);
        state
    }
}

impl State {
    /// Scores all engines.
    fn decide(&mut self, rules: &Rules, request: &SchedulingRequest<'_>) -> Decision {
        let (pool, random) = (&self.pool, &mut *self.random);
        Decision::new(pool, rules, request, self.turn + 1, None, random)
    }

    /// Scores a random sample in a large pool, and all engines when none of the sample is eligible.
    fn decide_among_sample(&mut self, rules: &Rules, request: &SchedulingRequest<'_>) -> Decision {
        let (pool, random) = (&self.pool, &mut *self.random);
        // Packed needs the first engine that is not full.
        if rules.strategy != Strategy::Packed
            && let Some(sample) = pool.sample(pool.document(request), random)
        {
            let sample = Some(&sample[..]);
            let decision = Decision::new(pool, rules, request, self.turn + 1, sample, random);
            if decision.pick.is_some_and(|pick| !pick.half_open) {
                return decision;
            }
        }
        self.decide(rules, request)
    }

    /// Reserves on the picked engine.
    fn reserve(
        &mut self,
        decision: &Decision,
        request: &SchedulingRequest<'_>,
    ) -> Result<Selection, FilterReasons> {
        let pick = decision.pick.and_then(|pick| {
            let engine = self.pool.engine(pick.index)?;
            Some((pick, Arc::clone(engine)))
        });
        let Some((pick, engine)) = pick else {
            return Err(decision.exclusions(&self.pool));
        };
        let Pick {
            index,
            held: holds_document,
            half_open,
        } = pick;
        let (trial, background_trial) = if half_open {
            (engine.accounting.begin_trial(request.now), None)
        } else {
            (None, self.background_trial(request.now))
        };
        self.turn += 1;
        let document = self.pool.document(request);
        let key = CostKey {
            document: document.map(DocumentKey::as_u64),
            document_loaded: holds_document,
        };
        let reservation = engine.accounting.reserve_for(self.turn, key);
        if let Some(document) = document {
            let holders = &mut self.pool.holders;
            holders.record_placement(document, index, holds_document, request.now);
        }
        Ok(Selection {
            engine,
            reservation,
            document_loaded: holds_document,
            trial,
            background_trial,
        })
    }

    /// Begins the trial of an ejected engine, if one is due.
    fn background_trial(&self, now: Instant) -> Option<BackgroundTrial> {
        trials_due(&self.pool).find_map(|(index, _)| {
            let engine = Arc::clone(self.pool.engine(index)?);
            let trial = engine.accounting.begin_trial(now)?;
            Some(BackgroundTrial { engine, trial })
        })
    }
}
