//! Engines that are emptied: they get nothing new, and the gateways close their sockets, spread over a time.
//! Which an operator empties is a note in the store, so that every replica knows within a second, and after a
//! restart too; while the store does not answer, what was known goes on. Which go by themselves, every replica
//! sees in its fleet. Closes nothing itself.

use crate::core::clock::Clock;
use crate::engines::fleet::{FleetReader, PoolFleet};
use berth_api::GatewayEvent;
use berth_scheduler::accounting::{Tallies, Tally};
use berth_scheduler::engine::EngineName;
use berth_store::{Coordination, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

/// How often the notes are read: so late another replica knows at the most.
const EVERY: Duration = Duration::from_secs(1);
/// A note's name: this, the pool, a slash, the engine.
const PREFIX: &str = "drain/";
/// Sockets that were on their way when the engine was drained: closed at the end, within so long.
const STRAGGLERS_MS: u64 = 5_000;
/// A gateway that could not be told may still have some: it is told again after so long.
const AGAIN_MS: u64 = 30_000;
/// For so long a note of an engine holds that is not there. A name may come back; those of most pods do not.
const KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

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
    /// When, after the end, of those that were on their way too. Milliseconds since the Unix epoch.
    stragglers_ms: Option<u64>,
}

/// Tells the gateways.
pub type Tell = Box<dyn Fn(GatewayEvent) + Send + Sync>;

struct Shared {
    fleet: FleetReader,
    tallies: Tallies,
    store: Arc<dyn Coordination>,
    clock: Arc<dyn Clock>,
    tell: Tell,
    /// By pool: over what time the sockets of an engine that goes are closed.
    over: BTreeMap<String, Duration>,
    /// What the notes said last. Operators drain engines that there are, and notes of those that are gone are taken
    /// down.
    noted: Mutex<BTreeMap<Name, Drain>>,
    /// Of engines that are drained now.
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
        tallies: Tallies,
        store: Arc<dyn Coordination>,
        clock: Arc<dyn Clock>,
        over: BTreeMap<String, Duration>,
        tell: Tell,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            fleet,
            tallies,
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
        let read = shared.read().await;
        if let Err(error) = &read
            && !silent
        {
            warn!(%error, "which engines are drained cannot be read; what was known goes on");
        }
        silent = read.is_err();
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
        self.read().await?;
        self.act();
        Ok(())
    }

    /// Reads the notes, and takes down those of engines that have long been gone.
    async fn read(&self) -> Result<(), StoreError> {
        let notes = self.store.notes(PREFIX).await?;
        let mut noted: BTreeMap<Name, Drain> =
            notes.iter().filter_map(|(n, t)| read(n, t)).collect();
        let old_ms = self.clock.now_ms().saturating_sub(KEPT_MS);
        let old = noted.extract_if(.., |name, drain| {
            drain.since_ms.saturating_add(drain.over_ms) < old_ms && self.is_gone(name)
        });
        for ((pool, engine), _) in old.collect::<Vec<_>>() {
            self.store.note(&note(&pool, &engine), None).await?;
            info!(pool, engine, "engine is long gone, and no longer drained");
        }
        *self.noted() = noted;
        Ok(())
    }

    /// The discoveries of its pool work, and do not know it.
    fn is_gone(&self, (pool, engine): &Name) -> bool {
        let fleet = self.fleet.now();
        let pool = fleet.pools().iter().find(|p| *p.name == **pool);
        pool.is_some_and(|pool| {
            pool.current && !pool.engines.iter().any(|e| e.name.as_str() == engine)
        })
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
        // First nothing new, then the sockets: none of them is to come back here.
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
            for (name, _) in told.extract_if(.., |name, _| !drained.contains_key(name)) {
                let books = self.books(&name);
                books.drain(false);
                books.came_up(Instant::now());
            }
            for (name, drain) in drained {
                self.books(&name).drain(true);
                let known = told.get(&name).filter(|told| told.drain == drain).copied();
                let end_ms = drain.since_ms.saturating_add(drain.over_ms);
                let left_ms = end_ms.saturating_sub(now_ms);
                let over_ms = match known {
                    None => Some(left_ms.max(STRAGGLERS_MS.min(drain.over_ms))),
                    Some(told) if left_ms == 0 => {
                        let due = self.has_stragglers(&name, told.stragglers_ms, now_ms);
                        due.then_some(STRAGGLERS_MS)
                    }
                    Some(_) => None,
                };
                let before = known.and_then(|told| told.stragglers_ms);
                let now_told = Told {
                    drain,
                    stragglers_ms: known.and(over_ms).map(|_| now_ms).or(before),
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
        for event in events {
            (self.tell)(event);
        }
    }

    /// Whether gateways are to close what is left there: once in any case, and again while something is.
    fn has_stragglers(&self, name: &Name, told_ms: Option<u64>, now_ms: u64) -> bool {
        let Some(told_ms) = told_ms else { return true };
        let books = || self.books(name).standing(Instant::now());
        now_ms.saturating_sub(told_ms) >= AGAIN_MS && books().open > 0
    }

    /// They are there before the engine is found.
    fn books(&self, (pool, engine): &Name) -> Arc<Tally> {
        let engine = EngineName::from(engine.as_str());
        self.tallies.of(&pool.as_str().into(), &engine)
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
