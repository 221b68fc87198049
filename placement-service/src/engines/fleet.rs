//! The fleet: one immutable snapshot of every pool's engines, published by one writer
//! (`watcher`) and read by everybody else without waiting.

pub mod health;
pub mod metrics;
mod probing;
mod watched;
mod watcher;

use crate::config::{Pool, Probe};
use crate::engines::ledger::Probes;
use berth_scheduler::accounting::Tallies;
use berth_scheduler::engine::{Engine, State};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// All pools at one moment, in the order of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pools: Vec<PoolFleet>,
}

/// One pool at one moment.
#[derive(Clone, Debug)]
pub struct PoolFleet {
    /// As configured.
    pub name: Arc<str>,
    /// Whether every source of the pool has spoken, or failed, once.
    pub discovered: bool,
    /// Whether the last word of every source was a list: what is in none of them is gone.
    pub current: bool,
    /// Ordered by name.
    pub engines: Arc<[Arc<Engine>]>,
}

impl Fleet {
    /// Of these pools.
    #[must_use]
    pub const fn of(pools: Vec<PoolFleet>) -> Self {
        Self { pools }
    }

    /// The pools, in the order of the configuration.
    #[must_use]
    pub fn pools(&self) -> &[PoolFleet] {
        &self.pools
    }

    /// Whether every engine of every pool has had its first probe: before that, placements would be
    /// refused for no good reason.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.pools
            .iter()
            .all(|pool| pool.discovered && pool.engines.iter().all(|e| e.state != State::Starting))
    }
}

impl PoolFleet {
    /// There are engines to use, and the load of none is known: placing goes on by our own counts.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let usable = |e: &&Arc<Engine>| !matches!(e.state, State::Starting | State::Unhealthy);
        let mut usable = self.engines.iter().filter(usable).peekable();
        usable.peek().is_some() && usable.all(|e| e.is_blind())
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
        Self(watch::channel(Arc::new(Fleet { pools })).1)
    }

    /// A fleet that is whatever is sent, for tests.
    #[must_use]
    pub fn sent() -> (watch::Sender<Arc<Fleet>>, Self) {
        let (sender, reader) = watch::channel(Arc::default());
        (sender, Self(reader))
    }

    /// The latest snapshot.
    #[must_use]
    pub fn now(&self) -> Arc<Fleet> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits until the fleet is as wanted. Returns at once when it already is.
    pub async fn wait_for(&mut self, wanted: impl Fn(&Fleet) -> bool) {
        // An error means that the writer is gone: nothing will change any more.
        let _ = self.0.wait_for(|fleet| wanted(fleet)).await;
    }
}

/// The background tasks that keep the snapshot fresh; they end with it.
#[derive(Debug)]
pub struct FleetTask(JoinHandle<()>);

impl Drop for FleetTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts discovery and probing of all pools; `tallies` has the books of their engines. `shared`: what replicas tell each
/// other of probes.
///
/// # Errors
/// When the HTTP client of the probes cannot be built.
pub fn start(
    pools: &[Pool],
    probe: &Probe,
    tallies: Tallies,
    metrics: metrics::ProbeMetrics,
    shared: Option<Probes>,
) -> Result<(FleetReader, FleetTask), reqwest::Error> {
    let (watcher, reader) = watcher::Watcher::new(pools, probe, tallies, metrics, shared)?;
    let task = tokio::spawn(watcher.run());
    Ok((FleetReader(reader), FleetTask(task)))
}
