//! What the fleet's writer keeps of each pool, source and engine, and how an engine shows in snapshots.

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
    /// As it was when last looked at.
    pub(super) blind: bool,
    pub(super) engines: BTreeMap<EngineName, WatchedEngine>,
}

/// What one source of engines said last.
#[derive(Default)]
pub(super) struct Source {
    /// It has said something, or failed.
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
    /// Its state as choices see it.
    fn state(&self, load: Option<&Arc<Load>>) -> State {
        match self.health.state() {
            state @ (State::Starting | State::Unhealthy) => state,
            _ if self.wish != Wish::InUse => State::Draining,
            // It said so, but too long ago.
            State::Saturated if load.is_none() => State::NoMetrics,
            state => state,
        }
    }

    /// Shows the verdict in the next snapshot, with this load.
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
