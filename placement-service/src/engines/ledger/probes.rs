//! One replica probes for all: what it hears from the engines the others read, so that the engines carry one
//! prober's load however many replicas there are. Whoever hears nothing of an engine for too long asks it
//! himself, so that a prober that is gone, or that does not know the engine, costs nothing but time.

use crate::engines::health::{ProbeFault, Reading};
use berth_store::redis::Heard;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Results older than this are of engines that are gone.
const KEPT: Duration = Duration::from_secs(300);

/// What one probe brought.
type Outcome = Result<Reading, ProbeFault>;

/// What replicas tell each other of probes.
#[derive(Clone)]
pub struct Probes(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Rings when something was heard, or when it is somebody else's turn to probe.
    rounds: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Another replica probes.
    others: bool,
    /// One per engine of the other replicas, for [`KEPT`].
    heard: HashMap<String, (Instant, Outcome)>,
    /// What the others have yet to be told: a few per engine, as each sign of life takes them or drops them.
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
    /// Waits for what another replica has heard from an engine, in a probe that began after `last`; `None`
    /// when this one is to ask: at once if it is the one that probes, else at `until`.
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

    /// This replica has asked an engine.
    pub fn tell(&self, engine: &str, began: Instant, outcome: &Outcome) {
        // A reading is plain numbers and texts.
        let Ok(text) = serde_json::to_string(outcome) else {
            return;
        };
        self.state().told.push((engine.to_owned(), began, text));
    }

    /// What the others are to be told.
    pub(super) fn take_told(&self, now: Instant) -> Vec<Heard> {
        let told = std::mem::take(&mut self.state().told).into_iter();
        told.map(|(engine, began, text)| Heard {
            engine,
            text,
            age: now.saturating_duration_since(began),
        })
        .collect()
    }

    /// Whether this replica probes, and what it has been told. True when its turn has begun or ended.
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
