//! The single writer of the fleet: takes the reports of discoveries and probes, updates the health of each engine, and
//! publishes a new snapshot. Discoveries and probes run in their own tasks and decide nothing.
//!
//! An engine can fail in two ways. If it does not respond at its session port, it becomes unhealthy after consecutive
//! failures and gets no sessions, because a placement would fail. If it responds there but its load is missing or old,
//! it stays in use, and the scheduler uses the counts of Berth for its load. Missing metrics therefore never
//! interrupt the service, even if those of all engines are missing.

mod publication;

use super::Fleet;
use super::health_state::{HealthState, Thresholds};
use super::metrics::ProbeMetrics;
use super::pool_state::{EngineState, PoolState, Source};
use super::probe_loop::ProbeLoop;
use crate::config;
use crate::core::ticker::ticker;
use crate::engines::discovery::merge::merge;
use crate::engines::discovery::retrying::{DiscoveryEvent, RetryingDiscovery};
use crate::engines::discovery::{DesiredState, DiscoveredEngine};
use crate::engines::drivers::transport::EngineTransport;
use crate::engines::health::{ProbeFault, Prober, Reading};
use crate::engines::ledger::SharedProbeResults;
use berth_scheduler::accounting::AccountingRegistry;
use berth_scheduler::engine::{Endpoint, Engine, EngineName, State};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// Maximum number of reports per snapshot, so that a large fleet does not publish a snapshot for each probe.
const BATCH: usize = 1024;

/// A load that is older than this number of probe intervals is no longer used.
const STALE_INTERVALS: u32 = 3;

enum Report {
    Discovered {
        pool: usize,
        source: usize,
        event: DiscoveryEvent,
    },
    Probed {
        pool: usize,
        name: EngineName,
        /// Detects the probe of an engine that has been replaced by one with the same name.
        endpoint: Endpoint,
        started_at: Instant,
        result: Box<Result<Reading, ProbeFault>>,
    },
}

/// Owns the state of all pools.
pub(super) struct FleetController {
    pools: Vec<PoolState>,
    interval: Duration,
    timeout: Duration,
    stale_after: Duration,
    thresholds: Thresholds,
    accounting_registry: AccountingRegistry,
    metrics: ProbeMetrics,
    tasks: JoinSet<()>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    snapshots: watch::Sender<Arc<Fleet>>,
    /// The probe results that the replicas share. `None` with a single replica.
    shared: Option<SharedProbeResults>,
}

impl FleetController {
    /// Starts the discoveries. Their reports are processed by [`Self::run`].
    pub(super) fn new(
        pools: &[config::Pool],
        transports: &[EngineTransport],
        probe: &config::Probe,
        accounting_registry: AccountingRegistry,
        metrics: ProbeMetrics,
        shared_probes: Option<SharedProbeResults>,
        keep_reports: bool,
    ) -> Result<(Self, watch::Receiver<Arc<Fleet>>), reqwest::Error> {
        let (reporter, reports) = mpsc::channel(BATCH);
        let mut tasks = JoinSet::new();
        let mut pool_states = Vec::new();
        for (index, (pool, transport)) in pools.iter().zip(transports).enumerate() {
            let following =
                RetryingDiscovery::for_pool(&pool.name, &pool.discovery, &metrics.discovery);
            let sources = following.iter().map(|_| Source::default()).collect();
            for (source, mut following) in following.into_iter().enumerate() {
                let reporter = reporter.clone();
                tasks.spawn(async move {
                    loop {
                        let report = Report::Discovered {
                            pool: index,
                            source,
                            event: following.next().await,
                        };
                        if reporter.send(report).await.is_err() {
                            return;
                        }
                    }
                });
            }
            pool_states.push(PoolState {
                name: pool.name.as_str().into(),
                prober: Prober::new(pool, transport, probe.timeout, keep_reports)?,
                sources,
                metrics_stale: false,
                unusable: false,
                engines: BTreeMap::new(),
            });
        }
        let publish = watch::Sender::default();
        let mut controller = Self {
            pools: pool_states,
            interval: probe.interval,
            timeout: probe.timeout,
            // A probe may take longer than the interval; the next probe starts at its end then.
            stale_after: probe.interval.max(probe.timeout) * STALE_INTERVALS,
            thresholds: Thresholds {
                failures: probe.failures,
                successes: probe.successes,
            },
            accounting_registry,
            metrics,
            tasks,
            reports,
            reporter,
            snapshots: publish,
            shared: shared_probes,
        };
        controller.publish();
        let reader = controller.snapshots.subscribe();
        Ok((controller, reader))
    }

    /// Processes reports until the task is aborted.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        let mut ageing = ticker(self.interval);
        loop {
            tokio::select! {
                taken = self.reports.recv_many(&mut batch, BATCH) => if taken == 0 {
                    return;
                },
                _ = ageing.tick() => if !self.expire_loads(Instant::now()) {
                    continue;
                },
            }
            for report in batch.drain(..) {
                match report {
                    Report::Discovered {
                        pool,
                        source,
                        event,
                    } => {
                        self.on_discovery(pool, source, event);
                    }
                    Report::Probed {
                        pool,
                        name,
                        endpoint,
                        started_at,
                        result,
                    } => self.on_probe(pool, &name, endpoint, started_at, *result),
                }
            }
            self.publish();
            // Collects the ended tasks. Only the probe loops of removed engines end without a panic.
            while let Some(result) = self.tasks.try_join_next() {
                if let Err(fault) = result
                    && fault.is_panic()
                {
                    error!("a discovery or a probe loop panicked: {fault}");
                }
            }
        }
    }

    /// Removes loads that are too old. Returns true when there were any.
    fn expire_loads(&mut self, now: Instant) -> bool {
        let mut any_expired = false;
        for engine_state in self.pools.iter_mut().flat_map(|p| p.engines.values_mut()) {
            let probed_at = engine_state.engine.probed_at;
            let is_stale =
                probed_at.is_some_and(|probed_at| now.duration_since(probed_at) > self.stale_after);
            if is_stale && engine_state.engine.load.is_some() {
                engine_state.update_engine(None, probed_at);
                any_expired = true;
            }
        }
        any_expired
    }

    fn on_discovery(&mut self, index: usize, source: usize, event: DiscoveryEvent) {
        let Some(pool) = self.pools.get_mut(index) else {
            return;
        };
        // The engines of the first lists are not new: they were there before this service started.
        let accepts_new = pool.sources.iter().all(|source| source.reported);
        let Some(source) = pool.sources.get_mut(source) else {
            return;
        };
        source.reported = true;
        source.failing = event == DiscoveryEvent::Failed;
        match event {
            DiscoveryEvent::List(list) => source.list = list,
            DiscoveryEvent::Failed => return,
        }
        let names = pool.engines.iter().map(|(n, w)| (w.engine.endpoint.api, n));
        let names = names.collect();
        let engines = merge(pool.sources.iter().map(|source| &source.list[..]), &names);
        let names: HashSet<&EngineName> = engines.iter().map(|engine| &engine.name).collect();
        pool.engines.retain(|name, engine_state| {
            let remains = names.contains(name);
            if !remains {
                let previous_state = engine_state.engine.state.as_str();
                info!(pool = %pool.name, engine = %name, previous_state, state = "gone", "engine is gone");
                self.metrics.remove_engine(&pool.name, name);
            }
            remains
        });
        for engine in engines {
            let DiscoveredEngine {
                name,
                endpoint,
                incarnation,
                desired_state,
            } = engine;
            if let Some(engine_state) = pool.engines.get_mut(&name)
                && engine_state.engine.endpoint == endpoint
                && engine_state.engine.may_be(incarnation.as_deref())
            {
                if engine_state.desired_state != desired_state {
                    engine_state.desired_state = desired_state;
                    if desired_state == DesiredState::Active {
                        engine_state.engine.accounting.mark_ready(Instant::now());
                    }
                    let load = engine_state.engine.load.clone();
                    engine_state.update_engine(load, engine_state.engine.probed_at);
                    let state = engine_state.engine.state.as_str();
                    info!(pool = %pool.name, engine = %name, ?desired_state, state, "the desired state has changed");
                }
                continue;
            }
            info!(pool = %pool.name, engine = %name, api = %endpoint.api, ?desired_state, "engine discovered");
            let probe_now: Arc<Notify> = Arc::default();
            let probing = ProbeLoop {
                probe_now: Arc::clone(&probe_now),
                prober: pool.prober.clone(),
                interval: self.interval,
                timeout: self.timeout,
                shared: self.shared.clone(),
                engine: (Arc::clone(&pool.name), name.clone(), endpoint),
            };
            let (reporter, engine_name) = (self.reporter.clone(), name.clone());
            let probing = self.tasks.spawn(probing.run(move |started_at, result| {
                let (reporter, name) = (reporter.clone(), engine_name.clone());
                async move {
                    let report = Report::Probed {
                        pool: index,
                        name,
                        endpoint,
                        started_at,
                        result: Box::new(result),
                    };
                    reporter.send(report).await.is_ok()
                }
            }));
            let accounting = self
                .accounting_registry
                .register(&pool.name, &name, endpoint);
            let engine = Engine {
                terminating: desired_state == DesiredState::Draining,
                probe_now,
                incarnation,
                ..Engine::new(name.clone(), endpoint, accounting)
            };
            if accepts_new {
                engine.accounting.mark_ready(Instant::now());
            }
            self.metrics.add_engine(&pool.name, &name);
            let engine_state = EngineState {
                engine: Arc::new(engine),
                health: HealthState::new(self.thresholds),
                desired_state,
                probe_task: probing,
                report: None,
            };
            pool.engines.insert(name, engine_state);
        }
    }

    fn on_probe(
        &mut self,
        pool: usize,
        name: &EngineName,
        endpoint: Endpoint,
        started_at: Instant,
        result: Result<Reading, ProbeFault>,
    ) {
        let Some(pool) = self.pools.get_mut(pool) else {
            return;
        };
        let Some(engine_state) = pool.engines.get_mut(name) else {
            return;
        };
        if engine_state.engine.endpoint != endpoint {
            return;
        }
        if let Err(fault) = &result {
            self.metrics.record_failure(&pool.name, name, fault);
        }
        let change = engine_state.health.apply(result);
        if let Some(fault) = change.new_fault {
            warn!(pool = %pool.name, engine = %name, fault = fault.as_str(), "probe failed: {fault}");
        }
        if let Some((previous_state, state)) = change.state {
            let (previous_state, state) = (previous_state.as_str(), state.as_str());
            if change
                .state
                .is_some_and(|(_, state)| state == State::Unhealthy)
            {
                warn!(pool = %pool.name, engine = %name, previous_state, state, "engine is unhealthy");
            } else {
                info!(pool = %pool.name, engine = %name, previous_state, state, "engine is {state}");
            }
        }
        if let Some((State::Unhealthy, _)) = change.state {
            engine_state.engine.accounting.mark_ready(Instant::now());
        }
        if let Some(report) = change.report {
            engine_state.report = Some(Arc::new(report));
        }
        let mut published_load = (
            engine_state.engine.load.clone(),
            engine_state.engine.probed_at,
        );
        if let Some(load) = change.load {
            engine_state
                .engine
                .accounting
                .apply_probe(started_at, &load);
            published_load = (Some(Arc::new(load)), Some(started_at));
        }
        engine_state.update_engine(published_load.0, published_load.1);
    }
}
