//! The state that the fleet controller keeps for each pool, source and engine, and the engine that it publishes in
//! snapshots. Decides the published state from the health of an engine and from the state that its source requires.

use super::health_state::HealthState;
use crate::engines::discovery::{DesiredState, DiscoveredEngine};
use crate::engines::health::{EngineReport, Prober};
use berth_scheduler::engine::{Engine, EngineName, Load, State};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub(super) struct PoolState {
    pub(super) name: Arc<str>,
    pub(super) prober: Prober,
    pub(super) sources: Vec<Source>,
    /// Whether no usable engine had a current load in the last snapshot.
    pub(super) metrics_stale: bool,
    pub(super) engines: BTreeMap<EngineName, EngineState>,
}

/// The last result of one source of engines.
#[derive(Default)]
pub(super) struct Source {
    /// The source has returned a list or failed at least once.
    pub(super) reported: bool,
    pub(super) failing: bool,
    pub(super) list: Vec<DiscoveredEngine>,
}

pub(super) struct EngineState {
    pub(super) engine: Arc<Engine>,
    pub(super) health: HealthState,
    pub(super) desired_state: DesiredState,
    pub(super) probe_task: AbortHandle,
    /// The full content of its last probe, if a reader needs it.
    pub(super) report: Option<Arc<EngineReport>>,
}

impl EngineState {
    /// The state that the scheduler sees.
    fn state(&self, load: Option<&Arc<Load>>) -> State {
        match self.health.state() {
            state @ (State::Starting | State::Unhealthy) => state,
            _ if self.desired_state != DesiredState::Active => State::Draining,
            // The engine reported saturation, but its last load has become too old.
            State::Saturated if load.is_none() => State::NoMetrics,
            state => state,
        }
    }

    /// Updates the engine of the next snapshot to the current health and this load.
    pub(super) fn update_engine(&mut self, load: Option<Arc<Load>>, probed_at: Option<Instant>) {
        let mut engine = (*self.engine).clone();
        engine.state = self.state(load.as_ref());
        engine.terminating = self.desired_state == DesiredState::Draining;
        let is_unhealthy = engine.state == State::Unhealthy;
        let since = is_unhealthy.then(|| engine.unhealthy_since.unwrap_or_else(Instant::now));
        engine.unhealthy_since = since;
        (engine.load, engine.probed_at) = (load, probed_at);
        self.engine = Arc::new(engine);
    }
}

impl Drop for EngineState {
    fn drop(&mut self) {
        self.probe_task.abort();
    }
}
