//! Engines that are emptied: they get nothing new, and the gateways close their sockets, spread over a time.
//! Which an operator empties is a note in the store, so that every replica knows within a second, and after a
//! restart too; while the store does not answer, what was known goes on. Which go by themselves, every replica
//! sees in its fleet. Closes nothing itself.

use crate::clock::Clock;
use crate::engine::Engine;
use crate::fleet::{FleetReader, PoolFleet};
use crate::store::{Coordination, StoreError};
use berth_api::GatewayEvent;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

/// How often the notes are read: so late another replica knows at the most.
const EVERY: Duration = Duration::from_secs(1);
/// A note's name: this, the pool, a slash, the engine.
const PREFIX: &str = "drain/";
/// Sockets that were on their way when the engine was drained: closed at the end, within so long.
const STRAGGLERS_MS: u64 = 5_000;

/// One engine that is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Over how many milliseconds its sockets are closed.
    pub over_ms: u64,
}

/// Pool and engine.
type Name = (String, String);

#[derive(Clone, Copy, Debug)]
struct Told {
    drain: Drain,
    /// Those on their way, too.
    stragglers: bool,
}

/// Tells the gateways.
pub type Tell = Box<dyn Fn(GatewayEvent) + Send + Sync>;

struct Shared {
    fleet: FleetReader,
    store: Arc<dyn Coordination>,
    clock: Arc<dyn Clock>,
    tell: Tell,
    /// By pool: over what time the sockets of an engine that goes are closed.
    over: BTreeMap<String, Duration>,
    /// What the notes said last.
    noted: Mutex<BTreeMap<Name, Drain>>,
    told: Mutex<BTreeMap<Name, Told>>,
}

/// The engines that are drained.
pub struct Drains {
    shared: Arc<Shared>,
    watching: AbortHandle,
}

impl Drop for Drains {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Drains {
    /// Knows what the store's notes say before it returns; looks at them, and at the fleet, from then on. `over`
    /// has for each pool the time over which the sockets of an engine are closed that goes by itself.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn start(
        fleet: FleetReader,
        store: Arc<dyn Coordination>,
        clock: Arc<dyn Clock>,
        over: BTreeMap<String, Duration>,
        tell: Tell,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            fleet,
            store,
            clock,
            tell,
            over,
            noted: Mutex::default(),
            told: Mutex::default(),
        });
        shared.look().await?;
        let watching = tokio::spawn(watch(Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, watching })
    }

    /// Empties an engine over that time. Of one that is being emptied: anew.
    ///
    /// # Errors
    /// When the store does not answer: then nothing has changed.
    pub async fn drain(&self, pool: &str, engine: &str, over: Duration) -> Result<(), StoreError> {
        let drain = Drain {
            since_ms: self.shared.clock.now_ms(),
            over_ms: millis(over),
        };
        let text = serde_json::to_string(&drain)
            .map_err(|e| StoreError::Data(format!("a note that cannot be written: {e}")))?;
        self.shared
            .store
            .note(&note(pool, engine), Some(&text))
            .await?;
        info!(pool, engine, over_ms = drain.over_ms, "engine is drained");
        self.shared.look().await
    }

    /// The engine gets new sessions again. Sockets that the gateways are closing are closed.
    ///
    /// # Errors
    /// When the store does not answer: then nothing has changed.
    pub async fn undrain(&self, pool: &str, engine: &str) -> Result<(), StoreError> {
        self.shared.store.note(&note(pool, engine), None).await?;
        info!(pool, engine, "engine is no longer drained");
        self.shared.look().await
    }

    /// Since when and over what time an engine is drained, if it is.
    #[must_use]
    pub fn of(&self, pool: &str, engine: &str) -> Option<Drain> {
        let told = self.shared.told();
        let told = told.get(&(pool.to_owned(), engine.to_owned()));
        told.map(|told| told.drain)
    }
}

fn note(pool: &str, engine: &str) -> String {
    format!("{PREFIX}{pool}/{engine}")
}

async fn watch(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = false;
    loop {
        ticks.tick().await;
        let looked = shared.look().await;
        if let Err(error) = &looked
            && !silent
        {
            warn!(%error, "which engines are drained cannot be read; what was known goes on");
        }
        silent = looked.is_err();
        shared.act();
    }
}

impl Shared {
    /// Nothing within can panic half-way through a change.
    fn told(&self) -> MutexGuard<'_, BTreeMap<Name, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<Name, Drain>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the notes, and acts upon them.
    async fn look(&self) -> Result<(), StoreError> {
        let notes = self.store.notes(PREFIX).await?;
        *self.noted() = notes.iter().filter_map(|(n, t)| read(n, t)).collect();
        self.act();
        Ok(())
    }

    /// The engines that go by themselves, and over what time.
    fn leaving(&self) -> Vec<(Name, u64)> {
        let fleet = self.fleet.now();
        let of_pool = |pool: &PoolFleet| {
            let over_ms = self.over.get(&*pool.name).map_or(0, |over| millis(*over));
            let leaving = pool.engines.iter().filter(|engine| engine.leaving);
            let named = leaving.map(|e| ((pool.name.to_string(), e.name.to_string()), over_ms));
            named.collect::<Vec<_>>()
        };
        fleet.pools().iter().flat_map(of_pool).collect()
    }

    /// Marks what is drained, and tells the gateways what is new to them.
    fn act(&self) {
        let now_ms = self.clock.now_ms();
        let mut drained = self.noted().clone();
        let mut events = Vec::new();
        {
            let mut told = self.told();
            for (name, over_ms) in self.leaving() {
                let since = told.get(&name).map(|told| told.drain);
                // An operator's word on the time is the last.
                drained.entry(name).or_insert_with(|| {
                    since.unwrap_or(Drain {
                        since_ms: now_ms,
                        over_ms,
                    })
                });
            }
            told.retain(|name, _| drained.contains_key(name));
            for (name, drain) in drained {
                let known = told.get(&name).filter(|told| told.drain == drain).copied();
                let end_ms = drain.since_ms.saturating_add(drain.over_ms);
                let left_ms = end_ms.saturating_sub(now_ms);
                let over_ms = match known {
                    None => Some(left_ms.max(STRAGGLERS_MS.min(drain.over_ms))),
                    Some(told) if !told.stragglers && left_ms == 0 => Some(STRAGGLERS_MS),
                    Some(_) => None,
                };
                let now_told = Told {
                    drain,
                    stragglers: left_ms == 0,
                };
                if let Some(over_ms) = over_ms {
                    let (pool, engine) = name.clone();
                    events.push(GatewayEvent::EngineDrained {
                        pool,
                        engine,
                        over_ms,
                    });
                }
                told.insert(name, now_told);
            }
        }
        // First nothing new, then the sockets: none of them is to come back here.
        self.mark();
        for event in events {
            (self.tell)(event);
        }
    }

    /// Marks the engines that there are now.
    fn mark(&self) {
        let fleet = self.fleet.now();
        let told = self.told();
        for pool in fleet.pools() {
            let drained = |engine: &Arc<Engine>| {
                let name = (pool.name.to_string(), engine.name.to_string());
                told.contains_key(&name)
            };
            for engine in pool.engines.iter() {
                engine.tally.drain(!told.is_empty() && drained(engine));
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A note that somebody else has written otherwise says nothing.
fn read(name: &str, text: &str) -> Option<(Name, Drain)> {
    let (pool, engine) = name.strip_prefix(PREFIX)?.split_once('/')?;
    let drain = serde_json::from_str(text).ok()?;
    Some(((pool.to_owned(), engine.to_owned()), drain))
}

#[cfg(test)]
mod tests;
