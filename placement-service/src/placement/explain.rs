//! Explains placements: turns the scheduler's evaluation and the session affinity into the form for operators and
//! administrators. Decides nothing itself.

use super::affinity::AffinityKey;
use super::decision_log::Candidate;
use super::key_views::ExplainedKey;
use super::{KEPT, PlaceRequest, PlacementService, REPLACED, RESUMED, SHARED, check_path};
use crate::config::Sharing;
use crate::core::rejection::Rejection;
use berth_api::RejectReason;
use berth_scheduler::SchedulingRequest;
use berth_scheduler::explain::{ExplainedEngine, Explanation, Outcome};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

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
    /// The key of the request, if it has one.
    pub key: Option<ExplainedKey>,
    /// Available sessions of the pool; absent if the pool has no limit.
    pub available_sessions: Option<u64>,
    /// Length of the placement queue.
    pub queue_length: u32,
    /// Streams of the session in the pool, open or being opened.
    pub streams: u32,
    /// The scheduler's evaluation of each engine.
    pub engines: Vec<Candidate>,
}

impl PlacementService {
    /// Explains how a placement would be decided now. Places nothing, reserves nothing and calls no engine.
    ///
    /// # Errors
    /// For a path that has no route.
    pub fn explain(&self, request: &PlaceRequest<'_>) -> Result<PlacementExplanation, Rejection> {
        check_path(request.path)?;
        let target = self.routes().find(request.host, request.path, None)?;
        let pool = self.pool_of(&target)?;
        let fleet = self.fleet.snapshot();
        let pool_fleet = fleet.pools().get(target.pool);
        let pool_fleet = pool_fleet.ok_or(RejectReason::Internal)?;
        let scheduling_request = SchedulingRequest {
            document_weight: None,
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
        let selected = explanation.selected.as_ref().map(ToString::to_string);
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
            key: None,
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

impl PlacementService {
    /// The explanation of a request with this key: the placement goes to the key's engine, if it has one.
    #[must_use]
    pub fn with_key(
        &self,
        explanation: PlacementExplanation,
        key: Option<ExplainedKey>,
    ) -> PlacementExplanation {
        let kept = key.as_ref().and_then(|key| key.engine.clone());
        match kept {
            Some(engine) if explanation.attached_to.is_none() => PlacementExplanation {
                engine: Some(engine),
                reason: KEPT,
                key,
                ..explanation
            },
            _ => PlacementExplanation { key, ..explanation },
        }
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
