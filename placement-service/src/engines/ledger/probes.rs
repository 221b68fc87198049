//! One replica, the prober, probes the engines and shares the results, so that the engines bear the load of one prober
//! with any number of replicas. A replica that gets no result of an engine for too long probes it itself, so that a
//! prober that is gone, or that does not know the engine, only causes a delay. Does not know what a result means.

use crate::engines::health::{ProbeFault, Reading};
use berth_store::redis::Heard;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Retention of a result. Only the results of engines that are gone become this old.
const KEPT: Duration = Duration::from_secs(300);

/// The result of one probe.
type Outcome = Result<Reading, ProbeFault>;

/// The probe results that the replicas share.
#[derive(Clone)]
pub struct Probes(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Changes when results arrive, and when another replica becomes the prober.
    rounds: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Another replica is the prober.
    others: bool,
    /// The last result of each engine from other replicas, for [`RETENTION`], with the start of its probe.
    heard: HashMap<String, (Instant, Outcome)>,
    /// The results of this replica that are not sent yet: a few for each engine, because each heartbeat takes or drops
    /// all of them.
    told: Vec<(String, Instant, String)>,
}

impl Default for Probes {
    fn default() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            rounds: watch::Sender::default(),
        }))
    }
}

impl Probes {
    /// Waits for a result of an engine from another replica, of a probe that began after `last`. `None` when this
    /// replica has to probe: at once if it is the prober, otherwise at `until`.
    pub async fn heard(
        &self,
        engine: &str,
        last: Option<Instant>,
        until: Instant,
    ) -> Option<(Instant, Outcome)> {
        let mut rounds = self.0.rounds.subscribe();
        loop {
            rounds.mark_unchanged();
            {
                let state = self.state();
                if !state.others {
                    return None;
                }
                let news = state.heard.get(engine);
                if let Some(news) = news.filter(|(began, _)| last.is_none_or(|last| *began > last))
                {
                    return Some(news.clone());
                }
            }
            timeout_at(until, rounds.changed()).await.ok()?.ok()?;
        }
    }

    /// Queues the result of a probe by this replica for the other replicas.
    pub fn tell(&self, engine: &str, began: Instant, outcome: &Outcome) {
        // Never fails: a reading consists of numbers and texts.
        let Ok(text) = serde_json::to_string(outcome) else {
            return;
        };
        self.state().told.push((engine.to_owned(), began, text));
    }

    /// Takes the results that are not sent yet.
    pub(super) fn take_told(&self, now: Instant) -> Vec<Heard> {
        let told = std::mem::take(&mut self.state().told).into_iter();
        told.map(|(engine, began, text)| Heard {
            engine,
            text,
            age: now.saturating_duration_since(began),
        })
        .collect()
    }

    /// Takes the response to a heartbeat: whether this replica is the prober, and the results of other replicas.
    /// Returns true when this replica has become the prober or is no longer the prober.
    pub(super) fn round(&self, probes: bool, heard: Vec<Heard>, now: Instant) -> bool {
        let mut state = self.state();
        let turned = state.others == probes;
        state.others = !probes;
        if !turned && heard.is_empty() {
            return false;
        }
        for Heard { engine, text, age } in heard {
            if let (Ok(outcome), Some(began)) = (serde_json::from_str(&text), now.checked_sub(age))
            {
                state.heard.insert(engine, (began, outcome));
            }
        }
        state
            .heard
            .retain(|_, (began, _)| now.saturating_duration_since(*began) < KEPT);
        drop(state);
        self.0
            .rounds
            .send_modify(|round| *round = round.wrapping_add(1));
        turned
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
