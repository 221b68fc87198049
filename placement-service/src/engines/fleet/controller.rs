//! The single writer of the fleet: takes the reports of discoveries and probes, updates the health of each engine, and
//! publishes a new snapshot. Discoveries and probes run in their own tasks and decide nothing.
//!
//! An engine can fail in two ways. If it does not respond at its session port, it becomes unhealthy after consecutive
//! failures and gets no sessions, because a placement would fail. If it responds there but its load is missing or old,
//! it stays in use, and the scheduler uses the counts of Berth for its load. Missing metrics therefore never
//! interrupt the service, even if those of all engines are missing.

use super::health_state::{HealthState, Thresholds};
use super::metrics::ProbeMetrics;
use super::pool_state::{EngineState, PoolState, Source};
use super::probe_loop::ProbeLoop;
use super::{Fleet, PoolFleet};
use crate::config;
use crate::core::ticker::ticker;
use crate::engines::discovery::merge::merge;
use crate::engines::discovery::retrying::{DiscoveryEvent, RetryingDiscovery};
use crate::engines::discovery::{DesiredState, DiscoveredEngine};
use crate::engines::health::{ProbeFault, Prober, Reading};
use crate::engines::ledger::SharedProbeResults;
use berth_scheduler::accounting::AccountingRegistry;
use berth_scheduler::engine::{Endpoint, Engine, EngineName, State};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
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
        began: Instant,
        result: Result<Reading, ProbeFault>,
    },
}

/// Owns the state of all pools.
pub(super) struct FleetController {
    pools: Vec<PoolState>,
    interval: Duration,
    timeout: Duration,
    stale_after: Duration,
    thresholds: Thresholds,
    tallies: AccountingRegistry,
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
        probe: &config::Probe,
        tallies: AccountingRegistry,
        metrics: ProbeMetrics,
        shared: Option<SharedProbeResults>,
    ) -> Result<(Self, watch::Receiver<Arc<Fleet>>), reqwest::Error> {
        let (reporter, reports) = mpsc::channel(BATCH);
        let mut tasks = JoinSet::new();
        let mut watched = Vec::new();
        for (index, pool) in pools.iter().enumerate() {
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
            watched.push(PoolState {
                name: pool.name.as_str().into(),
                prober: Prober::new(pool, probe.timeout)?,
                sources,
                metrics_stale: false,
                engines: BTreeMap::new(),
            });
        }
        let publish = watch::Sender::default();
        let mut watcher = Self {
            pools: watched,
            interval: probe.interval,
            timeout: probe.timeout,
            // A probe may take longer than the interval; the next probe starts at its end then.
            stale_after: probe.interval.max(probe.timeout) * STALE_INTERVALS,
            thresholds: Thresholds {
                failures: probe.failures,
                successes: probe.successes,
            },
            tallies,
            metrics,
            tasks,
            reports,
            reporter,
            snapshots: publish,
            shared,
        };
        watcher.publish();
        let reader = watcher.snapshots.subscribe();
        Ok((watcher, reader))
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
                        event: news,
                    } => {
                        self.on_discovery(pool, source, news);
                    }
                    Report::Probed {
                        pool,
                        name,
                        endpoint,
                        began,
                        result,
                    } => self.on_probe(pool, &name, endpoint, began, result),
                }
            }
            self.publish();
            // Collects the ended tasks. Only the probe loops of removed engines end without a panic.
            while let Some(ended) = self.tasks.try_join_next() {
                if let Err(fault) = ended
                    && fault.is_panic()
                {
                    error!("a discovery or a probe loop panicked: {fault}");
                }
            }
        }
    }

    /// Removes loads that are too old. Returns true when there were any.
    fn expire_loads(&mut self, now: Instant) -> bool {
        let mut any = false;
        for watched in self.pools.iter_mut().flat_map(|p| p.engines.values_mut()) {
            let probed_at = watched.engine.probed_at;
            let old = probed_at.is_some_and(|at| now.duration_since(at) > self.stale_after);
            if old && watched.engine.load.is_some() {
                watched.update_engine(None, probed_at);
                any = true;
            }
        }
        any
    }

    fn on_discovery(&mut self, index: usize, source: usize, news: DiscoveryEvent) {
        let Some(pool) = self.pools.get_mut(index) else {
            return;
        };
        // The engines of the first lists are not new: they were there before this service started.
        let newcomers = pool.sources.iter().all(|source| source.reported);
        let Some(source) = pool.sources.get_mut(source) else {
            return;
        };
        source.reported = true;
        source.failing = news == DiscoveryEvent::Failed;
        match news {
            DiscoveryEvent::List(list) => source.list = list,
            DiscoveryEvent::Failed => return,
        }
        let names = pool.engines.iter().map(|(n, w)| (w.engine.endpoint.api, n));
        let names = names.collect();
        let found = merge(pool.sources.iter().map(|source| &source.list[..]), &names);
        let names: HashSet<&EngineName> = found.iter().map(|found| &found.name).collect();
        pool.engines.retain(|name, watched| {
            let stays = names.contains(name);
            if !stays {
                let before = watched.engine.state.as_str();
                info!(pool = %pool.name, engine = %name, before, state = "gone", "engine is gone");
                self.metrics.remove_engine(&pool.name, name);
            }
            stays
        });
        for found in found {
            let DiscoveredEngine {
                name,
                endpoint,
                desired_state: wish,
            } = found;
            if let Some(watched) = pool.engines.get_mut(&name)
                && watched.engine.endpoint == endpoint
            {
                if watched.desired_state != wish {
                    watched.desired_state = wish;
                    if wish == DesiredState::Active {
                        watched.engine.accounting.mark_ready(Instant::now());
                    }
                    let load = watched.engine.load.clone();
                    watched.update_engine(load, watched.engine.probed_at);
                    let state = watched.engine.state.as_str();
                    info!(pool = %pool.name, engine = %name, ?wish, state, "the desired state has changed");
                }
                continue;
            }
            info!(pool = %pool.name, engine = %name, api = %endpoint.api, ?wish, "engine discovered");
            let probing = ProbeLoop {
                prober: pool.prober.clone(),
                interval: self.interval,
                timeout: self.timeout,
                shared: self.shared.clone(),
                engine: (Arc::clone(&pool.name), name.clone(), endpoint),
            };
            let (reporter, probed) = (self.reporter.clone(), name.clone());
            let probing = self.tasks.spawn(probing.run(move |began, result| {
                let (reporter, name) = (reporter.clone(), probed.clone());
                async move {
                    let report = Report::Probed {
                        pool: index,
                        name,
                        endpoint,
                        began,
                        result,
                    };
                    reporter.send(report).await.is_ok()
                }
            }));
            let tally = self.tallies.register(&pool.name, &name, endpoint);
            let engine = Engine {
                terminating: wish == DesiredState::Draining,
                ..Engine::new(name.clone(), endpoint, tally)
            };
            if newcomers {
                engine.accounting.mark_ready(Instant::now());
            }
            let watched = EngineState {
                engine: Arc::new(engine),
                health: HealthState::new(self.thresholds),
                desired_state: wish,
                probe_task: probing,
            };
            pool.engines.insert(name, watched);
        }
    }

    fn on_probe(
        &mut self,
        pool: usize,
        name: &EngineName,
        endpoint: Endpoint,
        began: Instant,
        result: Result<Reading, ProbeFault>,
    ) {
        let Some(pool) = self.pools.get_mut(pool) else {
            return;
        };
        let Some(watched) = pool.engines.get_mut(name) else {
            return;
        };
        if watched.engine.endpoint != endpoint {
            return;
        }
        if let Err(fault) = &result {
            self.metrics.record_failure(&pool.name, name, fault);
        }
        let change = watched.health.apply(result);
        if let Some(fault) = change.new_fault {
            warn!(pool = %pool.name, engine = %name, fault = fault.as_str(), "probe failed: {fault}");
        }
        if let Some((before, after)) = change.state {
            let (before, after) = (before.as_str(), after.as_str());
            info!(pool = %pool.name, engine = %name, before, state = after, "engine is {after}");
        }
        if let Some((State::Unhealthy, _)) = change.state {
            watched.engine.accounting.mark_ready(Instant::now());
        }
        let mut shown = (watched.engine.load.clone(), watched.engine.probed_at);
        if let Some(load) = change.load {
            watched.engine.accounting.apply_probe(began, &load);
            shown = (Some(Arc::new(load)), Some(began));
        }
        watched.update_engine(shown.0, shown.1);
    }

    fn publish(&mut self) {
        let mut pools = Vec::with_capacity(self.pools.len());
        for watched in &mut self.pools {
            let engines = watched.engines.values();
            let pool = PoolFleet {
                name: Arc::clone(&watched.name),
                discovered: watched.sources.iter().all(|source| source.reported),
                current: watched.sources.iter().all(|s| s.reported && !s.failing),
                engines: engines.map(|w| Arc::clone(&w.engine)).collect(),
            };
            let blind = pool.metrics_stale();
            if blind && !watched.metrics_stale {
                warn!(pool = %pool.name, "the load of no engine is known: the pool uses the counts of Berth alone");
            } else if watched.metrics_stale && !blind {
                info!(pool = %pool.name, "the load of an engine is known again, or no engine is in use");
            }
            watched.metrics_stale = blind;
            pools.push(pool);
        }
        let fleet = Fleet { pools };
        self.snapshots.send_replace(Arc::new(fleet));
    }
}
