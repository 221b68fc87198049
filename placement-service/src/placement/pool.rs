//! A pool at run time: its driver, scheduler, queue and Envoy cluster, and the effect of an attempt's outcome
//! on the engine's circuit breaker. Knows no other pool.

use super::KEPT;
use super::admission_queue::AdmissionQueue;
use crate::config::{self, ENGINE_PLACEHOLDER, Sharing};
use crate::core::rejection::Rejection;
use crate::engines::drivers::open_target::OpenTarget;
use crate::engines::drivers::transport::EngineTransport;
use crate::engines::drivers::{self, DriverFault, EngineDriver, PrepareRequest};
use berth_api::RejectReason;
use berth_scheduler::accounting::{PoolStreams, StreamCounts, StreamSlot};
use berth_scheduler::engine::Engine;
use berth_scheduler::{BackgroundTrial, Rules, Scheduler};
use rand::rngs::StdRng;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// `Retry-After` in seconds for a session with too many streams: by then gateways have reported the streams
/// that it closed.
const TOO_MANY_RETRY_S: u32 = 5;

/// A pool at run time.
pub(super) struct Pool {
    pub(super) name: Arc<str>,
    cluster: String,
    pub(super) driver: Arc<dyn EngineDriver>,
    pub(super) scheduler: Scheduler,
    pub(super) queue: AdmissionQueue,
    pub(super) sharing: Sharing,
    pub(super) engine_session_ttl: Duration,
    /// A client that leaves for good ends its engine session.
    pub(super) end_on_close: bool,
    streams: Arc<PoolStreams>,
}

/// The scheduling rules of the pool's configuration.
fn scheduling_rules(pool: &config::Pool) -> Rules {
    Rules {
        strategy: pool.strategy,
        per_engine: pool.capacity.per_engine,
        per_pool: pool.capacity.per_pool,
        memory_floor: pool.capacity.memory_floor_mb,
        slow_start: pool.slow_start,
        weights: pool.weights,
    }
}

impl Pool {
    pub(super) fn new(
        config: &config::Pool,
        transport: &EngineTransport,
        placement: &config::Placement,
        counts: &StreamCounts,
    ) -> Self {
        let random = Box::new(rand::make_rng::<StdRng>());
        let name: Arc<str> = config.name.as_str().into();
        let streams = counts.pool(&name);
        streams.set_limits(config.stream_limits(placement));
        Self {
            name,
            cluster: config.cluster.clone(),
            driver: drivers::from_config(config, transport),
            scheduler: Scheduler::new(scheduling_rules(config), random),
            queue: AdmissionQueue::new(config.queue),
            sharing: config.sharing,
            engine_session_ttl: config.engine_session_ttl,
            end_on_close: config.end_on_close,
            streams,
        }
    }

    /// Why a request is placed on the engine of its key: the strategy has chosen it just now, or the key had it before.
    pub(super) const fn key_reason(&self, is_new: bool) -> &'static str {
        if is_new {
            self.scheduler.strategy().as_str()
        } else {
            KEPT
        }
    }

    /// Counts one more stream of a session, before an engine is selected.
    pub(super) fn acquire_stream_slot(&self, session_ref: &str) -> Result<StreamSlot, Rejection> {
        self.streams.acquire(session_ref).map_err(|limit| {
            let detail =
                format!("the session has {limit} streams in this pool, open or being opened");
            let rejection = Rejection::new(RejectReason::TooManyStreams).with_detail(detail);
            rejection.with_retry_after(TOO_MANY_RETRY_S)
        })
    }

    /// The number of streams of a session, and the limit.
    pub(super) fn streams(&self, session_ref: &str) -> (u32, Option<u32>) {
        self.streams.count(session_ref)
    }

    /// The Envoy cluster and the destination in it; no destination if the engine has a cluster of its own.
    pub(super) fn address(&self, engine: &Engine) -> (String, Option<String>) {
        if self.cluster.contains(ENGINE_PLACEHOLDER) {
            (
                self.cluster
                    .replace(ENGINE_PLACEHOLDER, engine.name.as_str()),
                None,
            )
        } else {
            let destination = engine.endpoint.api.to_string();
            (self.cluster.clone(), Some(destination))
        }
    }

    /// Starts a half-open attempt on an engine with an open circuit breaker, in the background: no client waits
    /// for it.
    pub(super) fn spawn_background_trial(
        &self,
        background_trial: BackgroundTrial,
        token: &str,
        engine_timeout: Duration,
    ) {
        let BackgroundTrial { engine, trial } = background_trial;
        let driver = Arc::clone(&self.driver);
        let pool = Arc::clone(&self.name);
        let token = token.to_owned();
        tokio::spawn(async move {
            let started_at = Instant::now();
            let job = PrepareRequest {
                engine: engine.endpoint.api,
                token: &token,
                path: "/",
                target: &OpenTarget::Nothing,
                first_response_by: started_at + engine_timeout,
                deadline: started_at + engine_timeout,
                connect_permit: None,
                dry_run: true,
            };
            let result = driver.prepare(job).await;
            record_outcome(
                &pool,
                &engine,
                result.as_ref().err(),
                started_at,
                Instant::now(),
            );
            drop(trial);
        });
    }
}

/// Records the outcome of an attempt in the engine's circuit breaker.
pub(super) fn record_outcome(
    pool: &str,
    engine: &Engine,
    fault: Option<&DriverFault>,
    started_at: Instant,
    now: Instant,
) {
    let accounting = &engine.accounting;
    let engine = engine.name.as_str();
    match fault {
        Some(fault) if fault.blames_engine() => {
            if accounting.record_failure(started_at, now) {
                warn!(
                    pool,
                    engine,
                    fault = fault.as_str(),
                    "engine ejected: {fault}"
                );
            } else {
                debug!(
                    pool,
                    engine,
                    fault = fault.as_str(),
                    "attempt failed: {fault}"
                );
            }
            return;
        }
        Some(DriverFault::NoSuchDocument) => {}
        Some(fault) => {
            warn!(
                pool,
                engine,
                fault = fault.as_str(),
                "attempt failed: {fault}"
            );
        }
        None => {}
    }
    // Any response proves that the engine works.
    if accounting.record_success() {
        info!(pool, engine, "engine is no longer ejected");
    }
}
