//! The selection of an engine for one attempt: by the scheduler, confirmed by the ledger that replicas share, and after
//! queueing for capacity where the pool allows it. Prepares nothing on the engine.

use super::pool::Pool;
use super::routes::RouteTarget;
use super::{PlaceRequest, PlacementService, stream_name};
use berth_scheduler::accounting::ledger_name;
use berth_scheduler::capacity_ledger::LedgerReply;
use berth_scheduler::engine::EngineName;
use berth_scheduler::explain::Explanation;
use berth_scheduler::filter::FilterReasons;
use berth_scheduler::{SchedulingRequest, Selection};
use rand::RngExt;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

/// How often the head of the queue checks for capacity: a closed stream, an expired reservation or a probe may
/// free some.
const CAPACITY_POLL_INTERVAL: Duration = Duration::from_millis(25);

/// The inputs of one placement.
#[derive(Clone, Copy)]
pub(super) struct PlacementTask<'a> {
    pub(super) pool: &'a Pool,
    pub(super) target: &'a RouteTarget,
    pub(super) request: &'a PlaceRequest<'a>,
    /// The path of the request to the engine, with its query.
    pub(super) path: &'a str,
    /// The document whose engines are preferred, and its weight; `None`: the pool's.
    pub(super) document: Option<&'a str>,
    pub(super) document_weight: Option<f64>,
    /// The key that stays on the engine.
    pub(super) key: Option<&'a str>,
    pub(super) deadline: Instant,
}

/// What a placement records about its decision.
#[derive(Default)]
pub(super) struct DecisionTrace {
    /// Whether the explanation is needed.
    pub(super) explain: bool,
    /// The explanation of the latest decision, if needed.
    pub(super) explanation: Option<Explanation>,
}

/// An engine to try.
pub(super) struct Attempt<'a> {
    pub(super) selection: Selection,
    /// Dropped when the engine has sent its first response.
    pub(super) connecting: SemaphorePermit<'a>,
    pub(super) started_at: Instant,
}

/// Why no engine is selected.
pub(super) enum SelectionError {
    /// The deadline has passed.
    DeadlineExceeded,
    /// No engine is eligible.
    NoEligibleEngine(FilterReasons),
    /// The queue is full.
    QueueFull,
    /// The queue timeout has passed before this placement reached the head of the queue.
    QueueTimeout,
    /// The replicas' ledger cannot confirm capacity, for this reason.
    LedgerUnavailable(&'static str),
    Internal,
}

impl PlacementService {
    /// Selects an engine at once or, if all are full, after queueing for capacity.
    pub(super) async fn select_or_queue<'a>(
        &'a self,
        task: PlacementTask<'a>,
        tried: &[EngineName],
        trace: &mut DecisionTrace,
    ) -> Result<Attempt<'a>, SelectionError> {
        let queue = &task.pool.queue;
        // A placement that has tried an engine has been through the queue already and does not queue again.
        if !tried.is_empty() || queue.length() == 0 {
            match self
                .select_confirmed(task, tried, trace, task.deadline)
                .await
            {
                Err(SelectionError::NoEligibleEngine(reasons))
                    if reasons.is_capacity_exhausted() => {}
                other => return other,
            }
        }
        let queue_deadline = task.deadline.min(Instant::now() + queue.timeout());
        let Some(ticket) = queue.enqueue() else {
            if queue.length() == 0 {
                // The pool has no queue: the error names what is full.
                return self
                    .select_confirmed(task, tried, trace, queue_deadline)
                    .await;
            }
            return Err(SelectionError::QueueFull);
        };
        let Ok(_first) = timeout_at(queue_deadline, ticket.head()).await else {
            return Err(SelectionError::QueueTimeout);
        };
        loop {
            let started_at = Instant::now();
            match self
                .select_confirmed(
                    task,
                    tried,
                    trace,
                    queue_deadline.max(started_at + CAPACITY_POLL_INTERVAL),
                )
                .await
            {
                Err(SelectionError::NoEligibleEngine(reasons))
                    if reasons.is_capacity_exhausted() =>
                {
                    if Instant::now() >= queue_deadline {
                        return Err(SelectionError::NoEligibleEngine(reasons));
                    }
                }
                other => return other,
            }
            sleep_until(queue_deadline.min(started_at + CAPACITY_POLL_INTERVAL)).await;
        }
    }

    /// Selects an engine for which the replicas' ledger confirms capacity; excludes engines that are full in
    /// the ledger and selects again.
    async fn select_confirmed<'a>(
        &'a self,
        task: PlacementTask<'a>,
        tried: &[EngineName],
        trace: &mut DecisionTrace,
        deadline: Instant,
    ) -> Result<Attempt<'a>, SelectionError> {
        let mut full_engines: Vec<EngineName> = Vec::new();
        loop {
            let attempt = if full_engines.is_empty() {
                self.select_locally(task, tried, trace, deadline).await
            } else {
                let left_out = [tried, &full_engines].concat();
                self.select_locally(task, &left_out, trace, deadline).await
            };
            let mut attempt = match attempt {
                Err(SelectionError::NoEligibleEngine(mut reasons)) => {
                    reasons.mark_full(full_engines.len());
                    return Err(SelectionError::NoEligibleEngine(reasons));
                }
                attempt => attempt?,
            };
            let limits = task.pool.scheduler.limits();
            let name = || task.key.map_or_else(stream_name, ledger_name);
            let confirmed = attempt.selection.reservation.confirm(name, limits);
            match timeout_at(task.deadline, confirmed).await {
                Ok(LedgerReply::Reserved) => {
                    if let Some(explanation) = &mut trace.explanation {
                        explanation.mark_full(&full_engines);
                    }
                    return Ok(attempt);
                }
                Ok(LedgerReply::EngineFull { .. }) => {
                    full_engines.push(attempt.selection.engine.name.clone())
                }
                Ok(LedgerReply::PoolFull) => {
                    return Err(SelectionError::NoEligibleEngine(FilterReasons::pool_full()));
                }
                Ok(LedgerReply::Unavailable(error)) => {
                    return Err(SelectionError::LedgerUnavailable(error));
                }
                Err(_) => return Err(SelectionError::DeadlineExceeded),
            }
        }
    }

    /// Selects an engine by the accounting of this process alone.
    async fn select_locally<'a>(
        &'a self,
        task: PlacementTask<'a>,
        tried: &[EngineName],
        trace: &mut DecisionTrace,
        deadline: Instant,
    ) -> Result<Attempt<'a>, SelectionError> {
        let Ok(Ok(connecting)) = timeout_at(deadline, self.connecting.acquire()).await else {
            return Err(SelectionError::DeadlineExceeded);
        };
        let started_at = Instant::now();
        let fleet = self.fleet.snapshot();
        let Some(pool_fleet) = fleet.pools().get(task.target.pool) else {
            return Err(SelectionError::Internal);
        };
        let scheduling_request = SchedulingRequest {
            document: task.document,
            document_weight: task.document_weight,
            tried,
            now: started_at,
        };
        let log_share = self.limits.log_decisions;
        let logged = log_share > 0.0 && rand::rng().random::<f64>() < log_share;
        let scheduler = &task.pool.scheduler;
        let selection = if logged || trace.explain {
            let (selection, explanation) =
                scheduler.select_explained(&pool_fleet.engines, &scheduling_request);
            if logged {
                super::decision_log::log_decision(&task.pool.name, &explanation);
            }
            trace.explanation = Some(explanation);
            selection
        } else {
            scheduler.select(&pool_fleet.engines, &scheduling_request)
        };
        let selection = selection.map_err(SelectionError::NoEligibleEngine)?;
        Ok(Attempt {
            selection,
            connecting,
            started_at,
        })
    }
}
