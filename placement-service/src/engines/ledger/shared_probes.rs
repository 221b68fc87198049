//! One replica, the prober, probes the engines and shares the results, so that the engines bear the load of one prober
//! with any number of replicas. A replica that gets no result of an engine for too long probes it itself, so that a
//! prober that is gone, or that does not know the engine, only causes a delay. Does not know what a result means.

use crate::engines::health::{ProbeFault, Reading};
use berth_store::redis::SharedProbe;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Retention of a result. Only the results of engines that are gone become this old.
const RETENTION: Duration = Duration::from_secs(300);

/// The result of one probe.
type ProbeResult = Result<Reading, ProbeFault>;

/// The probe results that the replicas share.
#[derive(Clone)]
pub struct SharedProbeResults(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Changes when results arrive, and when another replica becomes the prober.
    updates: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Another replica is the prober.
    remote_prober: bool,
    /// The last result of each engine from other replicas, for [`RETENTION`], with the start of its probe.
    results: HashMap<String, (Instant, ProbeResult)>,
    /// The results of this replica that are not sent yet: a few for each engine, because each heartbeat takes or drops
    /// all of them.
    unsent: Vec<(String, Instant, String)>,
}

impl Default for SharedProbeResults {
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            updates: watch::Sender::default(),
        }))
    }
}

impl SharedProbeResults {
    /// Waits for a result of an engine from another replica, of a probe that began after `last_start`. `None` when this
    /// replica has to probe: at once if it is the prober, otherwise at `deadline`.
    pub async fn next_after(
        &self,
        engine: &str,
        last_start: Option<Instant>,
        deadline: Instant,
    ) -> Option<(Instant, ProbeResult)> {
        let mut updates = self.0.updates.subscribe();
        loop {
            updates.mark_unchanged();
            {
                let state = self.state();
                if !state.remote_prober {
                    return None;
                }
                let result = state.results.get(engine);
                if let Some(result) = result.filter(|(started_at, _)| {
                    last_start.is_none_or(|last_start| *started_at > last_start)
                }) {
                    return Some(result.clone());
                }
            }
            timeout_at(deadline, updates.changed()).await.ok()?.ok()?;
        }
    }

    /// Queues the result of a probe by this replica for the other replicas.
    pub fn publish(&self, engine: &str, started_at: Instant, outcome: &ProbeResult) {
        // Never fails: a reading consists of numbers and texts.
        let Ok(text) = serde_json::to_string(outcome) else {
            return;
        };
        self.state()
            .unsent
            .push((engine.to_owned(), started_at, text));
    }

    /// Takes the results that are not sent yet.
    pub(super) fn take_unsent(&self, now: Instant) -> Vec<SharedProbe> {
        let unsent = std::mem::take(&mut self.state().unsent).into_iter();
        unsent
            .map(|(engine, started_at, text)| SharedProbe {
                engine,
                text,
                age: now.saturating_duration_since(started_at),
            })
            .collect()
    }

    /// Takes the response to a heartbeat: whether this replica is the prober, and the results of other replicas.
    /// Returns true when this replica has become the prober or is no longer the prober.
    pub(super) fn on_heartbeat(
        &self,
        probes: bool,
        received: Vec<SharedProbe>,
        now: Instant,
    ) -> bool {
        let mut state = self.state();
        let role_changed = state.remote_prober == probes;
        state.remote_prober = !probes;
        if !role_changed && received.is_empty() {
            return false;
        }
        for SharedProbe { engine, text, age } in received {
            if let (Ok(outcome), Some(started_at)) =
                (serde_json::from_str(&text), now.checked_sub(age))
            {
                state.results.insert(engine, (started_at, outcome));
            }
        }
        state
            .results
            .retain(|_, (started_at, _)| now.saturating_duration_since(*started_at) < RETENTION);
        drop(state);
        self.0
            .updates
            .send_modify(|version| *version = version.wrapping_add(1));
        role_changed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}
