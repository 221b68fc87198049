//! The attempts of a placement without an existing engine session: selects an engine, lets the driver prepare the
//! session, and tries the next engine if one fails. Does not decide which engine is best: the scheduler does.

use super::PlacementService;
use super::pool;
use super::selection::{Attempt, DecisionTrace, PlacementTask, SelectionError};
use crate::core::rejection::Rejection;
use crate::engines::drivers::{DriverFault, PrepareRequest, RequestMutation};
use berth_api::RejectReason;
use berth_scheduler::Selection;
use berth_scheduler::accounting::Reservation;
use berth_scheduler::engine::Engine;
use berth_scheduler::filter::FilterReasons;
use std::sync::Arc;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

/// An engine on which the session is prepared.
pub(super) struct PreparedEngine {
    pub(super) engine: Arc<Engine>,
    pub(super) prepared: RequestMutation,
    /// `None`: the stream joins those of its key.
    pub(super) reservation: Option<Reservation>,
}

impl PreparedEngine {
    /// The stream counts with those of its key.
    pub(super) fn join(&mut self, joined: Option<Reservation>) {
        if let Some(joined) = joined {
            self.reservation = Some(joined);
        }
    }
}

impl PlacementTask<'_> {
    /// The driver's request to prepare the session on this engine; the engine must send its first response by
    /// `first_response_by`.
    pub(super) fn prepare_request<'b>(
        &'b self,
        engine: &Engine,
        first_response_by: Instant,
        connecting: SemaphorePermit<'b>,
    ) -> PrepareRequest<'b> {
        PrepareRequest {
            engine: engine.endpoint.api,
            token: self.request.token,
            path: self.path,
            target: &self.target.open_target,
            first_response_by: self.deadline.min(first_response_by),
            deadline: self.deadline,
            connect_permit: Some(connecting),
            dry_run: false,
        }
    }
}

impl PlacementService {
    /// Selects an engine and prepares the session there; tries further engines up to the limit of attempts.
    pub(super) async fn attempt_engines(
        &self,
        task: PlacementTask<'_>,
        trace: &mut DecisionTrace,
    ) -> Result<PreparedEngine, Rejection> {
        let PlacementTask { pool, request, .. } = task;
        let mut tried = Vec::new();
        let mut last_fault = None;
        for _ in 0..self.limits.attempts.max(1) {
            let Attempt {
                selection,
                connecting,
                started_at,
            } = match self.select_or_queue(task, &tried, trace).await {
                Ok(attempt) => attempt,
                Err(SelectionError::Internal) => return Err(RejectReason::Internal.into()),
                Err(SelectionError::DeadlineExceeded) => break,
                Err(_) if last_fault.is_some() => break,
                Err(SelectionError::NoEligibleEngine(reasons)) => {
                    return Err(self.not_selected(&reasons));
                }
                Err(SelectionError::LedgerUnavailable(error)) => {
                    let rejection = Rejection::new(RejectReason::StoreDown).with_detail(error);
                    return Err(rejection.with_retry_after(1));
                }
                Err(SelectionError::QueueFull) => {
                    return Err(self.engines_full("the placement queue is full"));
                }
                Err(SelectionError::QueueTimeout) => {
                    return Err(self
                        .engines_full("timed out in the placement queue behind other placements"));
                }
            };
            let Selection {
                engine,
                reservation,
                trial,
                background_trial,
                ..
            } = selection;
            if let Some(background_trial) = background_trial {
                pool.spawn_background_trial(
                    background_trial,
                    request.token,
                    self.limits.engine_timeout,
                );
            }
            let result = self.prepare_on(task, &engine, connecting, started_at).await;
            drop(trial);
            match result {
                Ok(prepared) => {
                    return Ok(PreparedEngine {
                        engine,
                        prepared,
                        reservation: Some(reservation),
                    });
                }
                Err(DriverFault::NoSuchDocument) => return Err(RejectReason::NoSuchDocument.into()),
                Err(fault) => {
                    tried.push(engine.name.clone());
                    last_fault = Some(fault);
                }
            }
        }
        let last_fault_name = last_fault.as_ref().map_or("deadline", DriverFault::as_str);
        Err(Rejection::new(RejectReason::EngineFailed)
            .with_detail(format!(
                "{} engines tried, the last one failed with: {last_fault_name}",
                tried.len()
            ))
            .with_retry_after(1))
    }

    /// Lets the driver prepare a session on this engine, and records the outcome.
    pub(super) async fn prepare_on(
        &self,
        task: PlacementTask<'_>,
        engine: &Engine,
        connecting: SemaphorePermit<'_>,
        started_at: Instant,
    ) -> Result<RequestMutation, DriverFault> {
        let pool = task.pool;
        let first_response_by = started_at + self.limits.engine_timeout;
        let job = task.prepare_request(engine, first_response_by, connecting);
        let result = pool.driver.prepare(job).await;
        let now = Instant::now();
        let outcome = result.as_ref().map_or_else(DriverFault::as_str, |_| "ok");
        self.metrics
            .record_attempt(&pool.name, outcome, now - started_at);
        pool::record_outcome(&pool.name, engine, result.as_ref().err(), started_at, now);
        result
    }

    fn engines_full(&self, detail: &str) -> Rejection {
        Rejection::new(RejectReason::EnginesFull)
            .with_detail(detail)
            .with_retry_after(self.retry_after_s)
    }

    fn not_selected(&self, reasons: &FilterReasons) -> Rejection {
        let reason = if reasons.is_capacity_exhausted() {
            RejectReason::EnginesFull
        } else {
            RejectReason::NoEngine
        };
        Rejection::new(reason)
            .with_detail(reasons.to_string())
            .with_retry_after(self.retry_after_s)
    }
}
