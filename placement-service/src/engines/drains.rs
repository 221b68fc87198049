//! Drains: a draining engine gets no new sessions, and the gateways close its sockets, spread over a period. A drain
//! by an operator is a record in the store, so that every replica knows it within a second and after a restart. While
//! the store does not respond, the last known drains continue. Engines that their discovery reports as terminating are
//! drained, too, without a record. Decides which engines drain and sends the events; closes no socket itself.

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

/// The records are read at this interval: another replica knows of a drain after at most this time.
const EVERY: Duration = Duration::from_secs(1);
/// The key of a record is this prefix, the pool, a slash and the engine.
const PREFIX: &str = "drain/";
/// Sockets that were being opened when the drain began (stragglers) are closed at its end, over this period.
const STRAGGLERS_MS: u64 = 5_000;
/// A gateway that missed the event may still have stragglers: while there are any, it is sent again after this time.
const AGAIN_MS: u64 = 30_000;
/// Retention of the records of engines that are no longer discovered. A name may return, such as that of a pod of a
/// StatefulSet; the names of most pods do not.
const KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// The drain of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The start, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The period over which the sockets of the engine are closed, in milliseconds.
    pub over_ms: u64,
}

/// The names of a pool and of an engine in it.
type Name = (String, String);

#[derive(Clone, Copy, Debug)]
struct Told {
    drain: Drain,
    /// When the event for stragglers was sent last, in milliseconds since the Unix epoch.
    stragglers_ms: Option<u64>,
}

/// Sends an event to the gateways.
pub type Tell = Box<dyn Fn(GatewayEvent) + Send + Sync>;

struct Shared {
    fleet: FleetReader,
    tallies: Tallies,
    store: Arc<dyn Coordination>,
    clock: Arc<dyn Clock>,
    tell: Tell,
    /// For each pool, the period over which the sockets of a terminating engine are closed.
    over: BTreeMap<String, Duration>,
    /// The records of operators, as last read. Bounded, because operators drain existing engines, and the records of
    /// engines that are gone are deleted.
    noted: Mutex<BTreeMap<Name, Drain>>,
    /// The last event for each engine that is draining.
    told: Mutex<BTreeMap<Name, Told>>,
}

/// The drains of all engines, and the task that applies them.
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
    /// Applies the records of the store before it returns, and then starts a task that follows the records and the
    /// fleet. `over` has for each pool the period over which the sockets of a terminating engine are closed.
    ///
    /// # Errors
    /// When the store does not respond.
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

    /// Drains an engine over that period. Restarts the drain if the engine is draining.
    ///
    /// # Errors
    /// When the store does not respond. Nothing has changed then.
    pub async fn drain(&self, pool: &str, engine: &str, over: Duration) -> Result<(), StoreError> {
        let drain = Drain {
            since_ms: self.shared.clock.now_ms(),
            over_ms: millis(over),
        };
        let text = serde_json::to_string(&drain)
            .map_err(|e| StoreError::Data(format!("a drain record cannot be encoded: {e}")))?;
        self.shared
            .store
            .note(&note(pool, engine), Some(&text))
            .await?;
        info!(pool, engine, over_ms = drain.over_ms, "engine is drained");
        self.shared.look().await
    }

    /// Ends a drain: the engine gets new sessions again. Gateways still close the sockets that the drain has scheduled.
    ///
    /// # Errors
    /// When the store does not respond. Nothing has changed then.
    pub async fn undrain(&self, pool: &str, engine: &str) -> Result<(), StoreError> {
        self.shared.store.note(&note(pool, engine), None).await?;
        info!(pool, engine, "engine is no longer drained");
        self.shared.look().await
    }

    /// The drain of an engine, if it is draining.
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
            warn!(%error, "drains cannot be read; the last known ones continue");
        }
        silent = read.is_err();
        shared.act();
    }
}

impl Shared {
    /// Ignores poisoning: no code under this lock can panic between two writes.
    fn told(&self) -> MutexGuard<'_, BTreeMap<Name, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<Name, Drain>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the records, and applies them.
    async fn look(&self) -> Result<(), StoreError> {
        self.read().await?;
        self.act();
        Ok(())
    }

    /// Reads the records, and deletes those of engines that have been gone for longer than the retention.
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
            info!(
                pool,
                engine, "the drain of an engine that is gone is deleted"
            );
        }
        *self.noted() = noted;
        Ok(())
    }

    /// True when all sources of the pool work and none lists the engine.
    fn is_gone(&self, (pool, engine): &Name) -> bool {
        let fleet = self.fleet.now();
        let pool = fleet.pools().iter().find(|p| *p.name == **pool);
        pool.is_some_and(|pool| {
            pool.current && !pool.engines.iter().any(|e| e.name.as_str() == engine)
        })
    }

    /// The engines that their discovery reports as terminating, with the period of their drain in milliseconds.
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

    /// Marks the draining engines, and sends the gateways the events that they do not have yet.
    fn act(&self) {
        let now_ms = self.clock.now_ms();
        let mut drained = self.noted().clone();
        let mut events = Vec::new();
        // Mark first and send after that: a client whose socket closes must not be placed on the same engine again.
        {
            let mut told = self.told();
            for (name, over_ms) in self.leaving() {
                let since = told.get(&name).map(|told| told.drain);
                // The period that an operator has set takes precedence.
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

    /// Whether the event for stragglers is due: once at the end of a drain, and again while sockets stay open.
    fn has_stragglers(&self, name: &Name, told_ms: Option<u64>, now_ms: u64) -> bool {
        let Some(told_ms) = told_ms else { return true };
        let books = || self.books(name).standing(Instant::now());
        now_ms.saturating_sub(told_ms) >= AGAIN_MS && books().open > 0
    }

    /// The accounting of an engine. It exists before the engine is discovered.
    fn books(&self, (pool, engine): &Name) -> Arc<Tally> {
        let engine = EngineName::from(engine.as_str());
        self.tallies.of(&pool.as_str().into(), &engine)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Parses a record. `None` when it is not one that this service has written.
fn read(name: &str, text: &str) -> Option<(Name, Drain)> {
    let (pool, engine) = name.strip_prefix(PREFIX)?.split_once('/')?;
    let drain = serde_json::from_str(text).ok()?;
    Some(((pool.to_owned(), engine.to_owned()), drain))
}

#[cfg(test)]
mod tests;
