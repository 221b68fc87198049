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
    pub available_sessions: Option<u64>,
    /// Length of the placement queue.
    pub queue_length: u32,
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
    /// `selected`, or why the engine was not selected: `outscored`, `not-drawn`, `warming-up`, or the reason that
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
    pub slow_start_weight: f64,
    /// The document is loaded on the engine.
    pub holds_document: bool,
    /// Value and weight of each score, by name.
    pub scores: Map<String, Value>,
    /// The weighted total of the scores.
    pub total: Option<f64>,
}

impl Candidate {
    fn from_evaluation(explained: &ExplainedEngine) -> Self {
        let score = |score: &berth_scheduler::score::Score| {
            let score_json = json!({ "score": score.value, "weight": score.weight });
            (score.name.to_owned(), score_json)
        };
        Self {
            engine: explained.engine.to_string(),
            outcome: explained.outcome.as_str(),
            state: explained.state.as_str(),
            sessions: explained.sessions,
            reserved: explained.reserved,
            memory_free: explained.memory_free,
            cpu_free: explained.cpu_free,
            slow_start_weight: explained.slow_start_weight,
            holds_document: explained.holds_document,
            scores: explained.scores.iter().map(score).collect(),
            total: explained.total,
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
        let pool_fleet = fleet.pools().get(target.pool);
        let pool_fleet = pool_fleet.ok_or(RejectReason::Internal)?;
        let scheduling_request = SchedulingRequest {
            document: target.open_target.document(),
            tried: &[],
            now: Instant::now(),
        };
        let explanation = pool
            .scheduler
            .explain(&pool_fleet.engines, &scheduling_request);
        let key = AffinityKey::for_request(&target, request, pool.sharing);
        let entry = key.and_then(|key| self.affinity.peek(key));
        let attached_entry = entry.as_ref();
        let attached = attached_entry.and_then(|entry| self.attached_engine(target.pool, entry));
        let selected = explanation.chosen.as_ref().map(ToString::to_string);
        let is_full = |engine: &ExplainedEngine| matches!(engine.outcome, Outcome::Excluded(reason) if reason.is_capacity_exhausted());
        let any_full = explanation.engines.iter().any(is_full);
        let ledger = self
            .ledger
            .as_ref()
            .filter(|_| pool.scheduler.limits() != (None, None));
        let (streams, limit) = pool.streams(&request.session.session_ref);
        let (engine, reason) = match (attached, selected) {
            _ if limit.is_some_and(|limit| streams >= limit) => {
                (None, RejectReason::TooManyStreams.as_str())
            }
            (None, _) if ledger.is_some_and(|ledger| !ledger.is_up()) => {
                (None, RejectReason::StoreDown.as_str())
            }
            (Some(attached), _) => (Some(attached.name.to_string()), resume_reason(pool.sharing)),
            (None, Some(selected)) if entry.is_some() => (Some(selected), REPLACED),
            (None, Some(selected)) => (Some(selected), explanation.strategy.as_str()),
            (None, None) if any_full => (None, RejectReason::EnginesFull.as_str()),
            (None, None) => (None, RejectReason::NoEngine.as_str()),
        };
        Ok(PlacementExplanation {
            pool: pool.name.to_string(),
            document: explanation.document.clone(),
            engine,
            reason,
            strategy: explanation.strategy.as_str(),
            attached_to: entry.map(|a| a.engine.to_string()),
            available_sessions: pool
                .scheduler
                .available_sessions(&pool_fleet.engines, scheduling_request.now),
            queue_length: pool.queue.length(),
            streams,
            engines: explanation
                .engines
                .iter()
                .map(Candidate::from_evaluation)
                .collect(),
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
pub fn candidates(explanation: &Explanation) -> Vec<Candidate> {
    explanation
        .engines
        .iter()
        .map(Candidate::from_evaluation)
        .collect()
}

/// Logs one decision. For a large pool only the first engines, those with the highest total.
pub(super) fn log_decision(pool: &str, explanation: &Explanation) {
    let mut engines: Vec<&ExplainedEngine> = explanation.engines.iter().collect();
    let total = |engine: &ExplainedEngine| engine.total.unwrap_or(f64::NEG_INFINITY);
    engines.sort_by(|a, b| {
        let is_selected = |engine: &ExplainedEngine| engine.outcome == Outcome::Selected;
        let first = is_selected(b).cmp(&is_selected(a));
        first.then_with(|| total(b).total_cmp(&total(a)))
    });
    engines.truncate(MAX_LOGGED_ENGINES);
    let engines: Vec<Candidate> = engines
        .into_iter()
        .map(Candidate::from_evaluation)
        .collect();
    let engines = serde_json::to_string(&engines).unwrap_or_default();
    let selected = explanation.chosen.as_ref().map(ToString::to_string);
    info!(target: "berth::decisions", pool, strategy = explanation.strategy.as_str(), document = explanation.document,
        engine = selected, candidates = explanation.engines.len(), engines, "decision");
}
