//! The fleet: an immutable snapshot of the engines of all pools. One writer (`controller`) publishes it, and all other
//! code reads it without waiting. Must not know placements.

mod controller;
pub mod health_state;
pub mod metrics;
mod pool_state;
mod probe_loop;

use crate::config::{Pool, Probe};
use crate::engines::drivers::transport::EngineTransport;
use crate::engines::health::EngineReport;
use crate::engines::ledger::SharedProbeResults;
use berth_scheduler::accounting::AccountingRegistry;
use berth_scheduler::engine::{Engine, EngineName, State};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The snapshot of all pools, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pools: Vec<PoolFleet>,
    /// The full content of the last probes, by pool and engine, if a reader needs it.
    reports: HashMap<(Arc<str>, EngineName), Arc<EngineReport>>,
}

/// The snapshot of one pool.
#[derive(Clone, Debug)]
pub struct PoolFleet {
    /// The configured name.
    pub name: Arc<str>,
    /// Whether every source of the pool has returned a list or failed at least once.
    pub discovered: bool,
    /// Whether the last result of every source was a list. If so, an engine that is in none of them is gone.
    pub current: bool,
    /// Ordered by name.
    pub engines: Arc<[Arc<Engine>]>,
}

impl Fleet {
    /// A fleet of these pools.
    #[must_use]
    pub fn new(pools: Vec<PoolFleet>) -> Self {
        Self {
            pools,
            ..Self::default()
        }
    }

    /// The full content of the last probe of an engine; `None` if there is none, or no reader needs it.
    #[must_use]
    pub fn report(&self, pool: &Arc<str>, engine: &EngineName) -> Option<&Arc<EngineReport>> {
        self.reports.get(&(Arc::clone(pool), engine.clone()))
    }

    /// The pools, in the order of the configuration.
    #[must_use]
    pub fn pools(&self) -> &[PoolFleet] {
        &self.pools
    }

    /// Whether every engine of every pool has been probed at least once. Before that, placements would be rejected
    /// although there is capacity.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.pools
            .iter()
            .all(|pool| pool.discovered && pool.engines.iter().all(|e| e.state != State::Starting))
    }
}

impl PoolFleet {
    /// True when the pool has usable engines and the current load of none is known. The scheduler then uses the counts
    /// of Berth alone.
    #[must_use]
    pub fn metrics_stale(&self) -> bool {
        let is_usable = |e: &&Arc<Engine>| !matches!(e.state, State::Starting | State::Unhealthy);
        let mut usable_engines = self.engines.iter().filter(is_usable).peekable();
        usable_engines.peek().is_some() && usable_engines.all(|e| e.metrics_stale())
    }
}

/// Reads the latest snapshot.
#[derive(Clone, Debug)]
pub struct FleetReader(watch::Receiver<Arc<Fleet>>);

impl FleetReader {
    /// A fleet that never changes, for tests.
    #[must_use]
    pub fn fixed(pools: Vec<PoolFleet>) -> Self {
        // The receiver keeps the last value when the sender is gone.
        Self(watch::channel(Arc::new(Fleet::new(pools))).1)
    }

    /// A fleet that the sender sets, for tests.
    #[must_use]
    pub fn channel() -> (watch::Sender<Arc<Fleet>>, Self) {
        let (sender, reader) = watch::channel(Arc::default());
        (sender, Self(reader))
    }

    /// The latest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Fleet> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits until a snapshot fulfils the condition.
    pub async fn wait_for(&mut self, condition: impl Fn(&Fleet) -> bool) {
        // An error means that the writer has ended and no snapshot follows.
        let _ = self.0.wait_for(|fleet| condition(fleet)).await;
    }
}

/// The background tasks that update the snapshot. Dropping this ends them.
#[derive(Debug)]
pub struct FleetTask(JoinHandle<()>);

impl Drop for FleetTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts discovery and probing of all pools. `transports` has one entry per pool, `accounting_registry` has the
/// accounting of their engines, `shared_probes` the probe results that the replicas share (`None` with a single replica).
/// `keep_reports`: the fleet has everything that engines say, not only their load.
///
/// # Errors
/// When the HTTP client of the probes cannot be built.
pub fn start(
    pools: &[Pool],
    transports: &[EngineTransport],
    probe: &Probe,
    accounting_registry: AccountingRegistry,
    metrics: metrics::ProbeMetrics,
    shared_probes: Option<SharedProbeResults>,
    keep_reports: bool,
) -> Result<(FleetReader, FleetTask), reqwest::Error> {
    let (controller, reader) = controller::FleetController::new(
        pools,
        transports,
        probe,
        accounting_registry,
        metrics,
        shared_probes,
        keep_reports,
    )?;
    let task = tokio::spawn(controller.run());
    Ok((FleetReader(reader), FleetTask(task)))
}
