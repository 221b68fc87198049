//! The fleet's single writer: takes what discoveries and probes report, keeps each engine's health, and
//! publishes a new snapshot. Discovery and probing run in tasks of their own and decide nothing.

use super::health::{Health, Thresholds};
use super::metrics::ProbeMetrics;
use super::{Fleet, PoolFleet};
use crate::config;
use crate::discovery::{self, Found};
use crate::engine::{Endpoint, Engine, EngineName, State};
use crate::probe::{ProbeFault, Prober, Reading};
use crate::reservation::Tallies;
use rand::RngExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{info, warn};

/// Reports taken before a snapshot is published, so that a big fleet does not publish one per probe.
const BATCH: usize = 1024;

enum Report {
    Discovered(usize, Vec<Found>),
    Probed {
        pool: usize,
        name: EngineName,
        /// Tells a probe of an engine that was replaced meanwhile.
        endpoint: Endpoint,
        began: Instant,
        result: Result<Reading, ProbeFault>,
    },
}

/// Owns all that is known of all engines.
pub(super) struct Watcher {
    pools: Vec<Watched>,
    interval: Duration,
    thresholds: Thresholds,
    tallies: Tallies,
    metrics: ProbeMetrics,
    tasks: JoinSet<()>,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    publish: watch::Sender<Arc<Fleet>>,
}

struct Watched {
    name: Arc<str>,
    prober: Prober,
    discovered: bool,
    engines: BTreeMap<EngineName, WatchedEngine>,
}

struct WatchedEngine {
    engine: Arc<Engine>,
    health: Health,
    probing: AbortHandle,
}

impl Drop for WatchedEngine {
    fn drop(&mut self) {
        self.probing.abort();
    }
}

impl Watcher {
    /// Starts the discoveries; `run` does the rest.
    pub(super) fn new(
        pools: &[config::Pool],
        probe: &config::Probe,
        tallies: Tallies,
        metrics: ProbeMetrics,
    ) -> Result<(Self, watch::Receiver<Arc<Fleet>>), reqwest::Error> {
        let (reporter, reports) = mpsc::channel(BATCH);
        let mut tasks = JoinSet::new();
        let mut watched = Vec::new();
        for (index, pool) in pools.iter().enumerate() {
            let mut discovery = discovery::from_config(&pool.discovery);
            let reporter = reporter.clone();
            tasks.spawn(async move {
                loop {
                    let found = discovery.next().await;
                    if reporter
                        .send(Report::Discovered(index, found))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
            watched.push(Watched {
                name: pool.name.as_str().into(),
                prober: Prober::new(pool.driver, probe.timeout)?,
                discovered: false,
                engines: BTreeMap::new(),
            });
        }
        let publish = watch::Sender::default();
        let watcher = Self {
            pools: watched,
            interval: probe.interval,
            thresholds: Thresholds {
                failures: probe.failures,
                successes: probe.successes,
            },
            tallies,
            metrics,
            tasks,
            reports,
            reporter,
            publish,
        };
        watcher.publish();
        let reader = watcher.publish.subscribe();
        Ok((watcher, reader))
    }

    /// Takes reports until it is aborted.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::new();
        while self.reports.recv_many(&mut batch, BATCH).await > 0 {
            for report in batch.drain(..) {
                match report {
                    Report::Discovered(pool, found) => self.discovered(pool, found),
                    Report::Probed {
                        pool,
                        name,
                        endpoint,
                        began,
                        result,
                    } => self.probed(pool, &name, endpoint, began, result),
                }
            }
            self.publish();
            // Tasks of engines that are gone.
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn discovered(&mut self, index: usize, found: Vec<Found>) {
        let Some(pool) = self.pools.get_mut(index) else {
            return;
        };
        pool.discovered = true;
        pool.engines.retain(|name, watched| {
            let stays = found.iter().any(|f| f.name == *name);
            if !stays {
                info!(pool = %pool.name, engine = %name, state = watched.engine.state.as_str(), "engine is gone");
            }
            stays
        });
        for Found { name, endpoint } in found {
            if pool
                .engines
                .get(&name)
                .is_some_and(|w| w.engine.endpoint == endpoint)
            {
                continue;
            }
            info!(pool = %pool.name, engine = %name, api = %endpoint.api, "engine found");
            let probing = self.tasks.spawn(probe_forever(
                pool.prober.clone(),
                self.interval,
                self.reporter.clone(),
                (index, name.clone(), endpoint),
            ));
            let engine = Engine {
                name: name.clone(),
                endpoint,
                state: State::Starting,
                load: None,
                probed_at: None,
                tally: self.tallies.found(&pool.name, &name, endpoint),
            };
            let watched = WatchedEngine {
                engine: Arc::new(engine),
                health: Health::new(self.thresholds),
                probing,
            };
            pool.engines.insert(name, watched);
        }
    }

    fn probed(
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
            self.metrics.failed(&pool.name, name, fault);
        }
        let change = watched.health.apply(result);
        if let Some(fault) = change.complaint {
            warn!(pool = %pool.name, engine = %name, fault = fault.as_str(), "probe failed: {fault}");
        }
        if let Some((before, after)) = change.state {
            let (before, after) = (before.as_str(), after.as_str());
            info!(pool = %pool.name, engine = %name, before, state = after, "engine is {after}");
        }
        let mut engine = (*watched.engine).clone();
        engine.state = watched.health.state();
        if let Some(load) = change.load {
            engine.tally.measured(began, &load);
            engine.load = Some(Arc::new(load));
            engine.probed_at = Some(began);
        }
        watched.engine = Arc::new(engine);
    }

    fn publish(&self) {
        let pools = self.pools.iter().map(|pool| PoolFleet {
            name: Arc::clone(&pool.name),
            discovered: pool.discovered,
            engines: pool
                .engines
                .values()
                .map(|w| Arc::clone(&w.engine))
                .collect(),
        });
        let fleet = Fleet {
            pools: pools.collect(),
        };
        self.publish.send_replace(Arc::new(fleet));
    }
}

/// Probes one engine at once and then at each interval, give or take a tenth.
async fn probe_forever(
    prober: Prober,
    interval: Duration,
    reporter: mpsc::Sender<Report>,
    (pool, name, endpoint): (usize, EngineName, Endpoint),
) {
    loop {
        let began = Instant::now();
        let result = prober.probe(&endpoint).await;
        let report = Report::Probed {
            pool,
            name: name.clone(),
            endpoint,
            began,
            result,
        };
        if reporter.send(report).await.is_err() {
            return;
        }
        let jitter = rand::rng().random_range(0.9..1.1);
        tokio::time::sleep_until(began + interval.mul_f64(jitter)).await;
    }
}
