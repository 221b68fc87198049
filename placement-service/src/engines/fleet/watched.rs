//! The state that the fleet controller keeps for each pool, source and engine, and the engine that it publishes in
//! snapshots. Decides the published state from the health of an engine and from what its source asks for.

use super::health::Health;
use crate::engines::discovery::{Found, Wish};
use crate::engines::health::Prober;
use berth_scheduler::engine::{Engine, EngineName, Load, State};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub(super) struct Watched {
    pub(super) name: Arc<str>,
    pub(super) prober: Prober,
    pub(super) sources: Vec<Source>,
    /// Whether no usable engine had a current load in the last snapshot.
    pub(super) blind: bool,
    pub(super) engines: BTreeMap<EngineName, WatchedEngine>,
}

/// The last result of one source of engines.
#[derive(Default)]
pub(super) struct Source {
    /// The source has returned a list or failed at least once.
    pub(super) heard: bool,
    pub(super) failing: bool,
    pub(super) list: Vec<Found>,
}

pub(super) struct WatchedEngine {
    pub(super) engine: Arc<Engine>,
    pub(super) health: Health,
    pub(super) wish: Wish,
    pub(super) probing: AbortHandle,
}

impl WatchedEngine {
    /// The state that the scheduler sees.
    fn state(&self, load: Option<&Arc<Load>>) -> State {
        match self.health.state() {
            state @ (State::Starting | State::Unhealthy) => state,
            _ if self.wish != Wish::InUse => State::Draining,
            // The engine reported saturation, but its last load has become too old.
            State::Saturated if load.is_none() => State::NoMetrics,
            state => state,
        }
    }

    /// Updates the engine of the next snapshot to the current health and this load.
    pub(super) fn show(&mut self, load: Option<Arc<Load>>, probed_at: Option<Instant>) {
        let mut engine = (*self.engine).clone();
        engine.state = self.state(load.as_ref());
        engine.leaving = self.wish == Wish::Drained;
        (engine.load, engine.probed_at) = (load, probed_at);
        self.engine = Arc::new(engine);
    }
}

impl Drop for WatchedEngine {
    fn drop(&mut self) {
        self.probing.abort();
    }
}
