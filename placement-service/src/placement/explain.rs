//! Explains placements: turns the scheduler's evaluation and the session affinity into the form for operators,
//! administrators and the decision log. Decides nothing itself.

use super::affinity::AffinityKey;
use super::{PlaceRequest, PlacementService, REPLACED, RESUMED, SHARED};
use crate::config::Sharing;
use crate::core::rejection::Rejection;
use berth_api::RejectReason;
use berth_scheduler::SchedulingRequest;
use berth_scheduler::explain::{ExplainedEngine, Explanation, Outcome};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tracing::info;
use utoipa::ToSchema;

/// Maximum number of engines in one line of the decision log, the selected one first.
const MAX_LOGGED_ENGINES: usize = 20;

/// A placement decision and its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Explanation)]
pub struct PlacementExplanation {
    /// The pool of the path's route.
    pub pool: String,
    /// The document that is opened.
    pub document: Option<String>,
    /// The engine; absent if the placement would be refused.
    pub engine: Option<String>,
    /// As in the response to a placement: the strategy, `resumed`, `shared` or `replaced`. For a refusal, its
    /// reason.
    pub reason: &'static str,
    /// The pool's strategy.
    pub strategy: &'static str,
    /// The engine with the engine session of this session, document and tab.
    pub attached_to: Option<String>,
    /// Available sessions of the pool; absent if the pool has no limit.
    pub room: Option<u64>,
    /// Length of the placement queue.
    pub waiting: u32,
    /// Streams of the session in the pool, open or being opened.
    pub streams: u32,
    /// The scheduler's evaluation of each engine.
    pub engines: Vec<Candidate>,
}

/// One engine in an explanation.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Candidate {
    /// Its name.
    pub engine: String,
    /// `chosen`, or why the engine was not selected: `outscored`, `not-drawn`, `warming-up`, or the reason that
    /// excludes it.
    pub outcome: &'static str,
    /// The state at the last probe.
    pub state: &'static str,
    /// Sessions that the scheduler counts.
    pub sessions: u32,
    /// How many of these no probe has reported yet.
    pub reserved: u32,
    /// Free share of its memory, 0 to 1.
    pub memory_free: Option<f64>,
    /// Free share of its CPU, 0 to 1.
    pub cpu_free: Option<f64>,
    /// The slow-start factor of its weight, 0 to 1.
    pub warmth: f64,
    /// The document is loaded on the engine.
    pub holds_document: bool,
    /// Value and weight of each score, by name.
    pub scores: Map<String, Value>,
    /// The weighted total of the scores.
    pub total: Option<f64>,
}

impl Candidate {
    fn from_evaluation(judged: &ExplainedEngine) -> Self {
        let score = |s: &berth_scheduler::score::Score| {
            let of = json!({ "score": s.value, "weight": s.weight });
            (s.name.to_owned(), of)
        };
        Self {
            engine: judged.engine.to_string(),
            outcome: judged.outcome.as_str(),
            state: judged.state.as_str(),
            sessions: judged.sessions,
            reserved: judged.reserved,
            memory_free: judged.memory_free,
            cpu_free: judged.cpu_free,
            warmth: judged.slow_start_weight,
            holds_document: judged.holds_document,
            scores: judged.scores.iter().map(score).collect(),
            total: judged.total,
        }
    }
}

impl PlacementService {
    /// Explains how a placement would be decided now. Places nothing, reserves nothing and calls no engine.
    ///
    /// # Errors
    /// For a path that has no route.
    pub fn explain(&self, request: &PlaceRequest<'_>) -> Result<PlacementExplanation, Rejection> {
        let (target, pool) = self.route(request.path)?;
        let fleet = self.fleet.snapshot();
        let now = fleet.pools().get(target.pool);
        let now = now.ok_or(RejectReason::Internal)?;
        let scheduling_request = SchedulingRequest {
            document: target.open_target.document(),
            tried: &[],
            now: Instant::now(),
        };
        let why = pool.scheduler.explain(&now.engines, &scheduling_request);
        let key = AffinityKey::for_request(&target, request, pool.sharing);
        let entry = key.and_then(|key| self.affinity.peek(key));
        let back = entry.as_ref();
        let back = back.and_then(|entry| self.attached_engine(target.pool, entry));
        let chosen = why.chosen.as_ref().map(ToString::to_string);
        let full = |judged: &ExplainedEngine| matches!(judged.outcome, Outcome::Excluded(why) if why.is_capacity_exhausted());
        let full = why.engines.iter().any(full);
        let ledger = self
            .ledger
            .as_ref()
            .filter(|_| pool.scheduler.limits() != (None, None));
        let (streams, limit) = pool.streams(&request.session.session_ref);
        let (engine, reason) = match (back, chosen) {
            _ if limit.is_some_and(|limit| streams >= limit) => {
                (None, RejectReason::TooManyStreams.as_str())
            }
            (None, _) if ledger.is_some_and(|ledger| !ledger.is_up()) => {
                (None, RejectReason::StoreDown.as_str())
            }
            (Some(back), _) => (Some(back.name.to_string()), resume_reason(pool.sharing)),
            (None, Some(chosen)) if entry.is_some() => (Some(chosen), REPLACED),
            (None, Some(chosen)) => (Some(chosen), why.strategy.as_str()),
            (None, None) if full => (None, RejectReason::EnginesFull.as_str()),
            (None, None) => (None, RejectReason::NoEngine.as_str()),
        };
        Ok(PlacementExplanation {
            pool: pool.name.to_string(),
            document: why.document.clone(),
            engine,
            reason,
            strategy: why.strategy.as_str(),
            attached_to: entry.map(|a| a.engine.to_string()),
            room: pool
                .scheduler
                .available_sessions(&now.engines, scheduling_request.now),
            waiting: pool.queue.length(),
            streams,
            engines: why.engines.iter().map(Candidate::from_evaluation).collect(),
        })
    }
}

/// The reason of a placement that returned to an existing engine session.
pub(super) const fn resume_reason(sharing: Sharing) -> &'static str {
    match sharing {
        Sharing::PerConnection => RESUMED,
        Sharing::PerDocument => SHARED,
    }
}

/// The evaluation of each engine in an explanation.
#[must_use]
pub fn candidates(why: &Explanation) -> Vec<Candidate> {
    why.engines.iter().map(Candidate::from_evaluation).collect()
}

/// Logs one decision. For a large pool only the first engines, those with the highest total.
pub(super) fn log_decision(pool: &str, why: &Explanation) {
    let mut judged: Vec<&ExplainedEngine> = why.engines.iter().collect();
    let total = |j: &ExplainedEngine| j.total.unwrap_or(f64::NEG_INFINITY);
    judged.sort_by(|a, b| {
        let chosen = |j: &ExplainedEngine| j.outcome == Outcome::Chosen;
        let first = chosen(b).cmp(&chosen(a));
        first.then_with(|| total(b).total_cmp(&total(a)))
    });
    judged.truncate(MAX_LOGGED_ENGINES);
    let engines: Vec<Candidate> = judged.into_iter().map(Candidate::from_evaluation).collect();
    let engines = serde_json::to_string(&engines).unwrap_or_default();
    let chosen = why.chosen.as_ref().map(ToString::to_string);
    info!(target: "berth::decisions", pool, strategy = why.strategy.as_str(), document = why.document,
        engine = chosen, of = why.engines.len(), engines, "decision");
}
