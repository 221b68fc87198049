//! Drains: a draining engine gets no new sessions, and the gateways close its sockets, spread over a period. A drain
//! by an operator is a record in the store, so that every replica knows it within a second and after a restart. While
//! the store does not respond, the last known drains continue. Engines that their discovery reports as terminating are
//! drained, too, without a record. Decides which engines drain and sends the events; closes no socket itself.

mod schedule;

use crate::core::clock::{Clock, millis};
use crate::core::ticker::ticker;
use crate::engines::fleet::{FleetReader, PoolFleet};
use berth_api::GatewayEvent;
use berth_scheduler::accounting::{AccountingRegistry, EngineAccounting};
use berth_scheduler::engine::EngineName;
use berth_store::{Coordination, StoreError};
use parking_lot::{Mutex, MutexGuard};
pub use schedule::{Drain, SentDrain};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{info, warn};

/// The records are read at this interval: another replica knows of a drain after at most this time.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// The key of a record is this prefix, the pool, a slash and the engine.
const KEY_PREFIX: &str = "drain/";
/// Retention of the records of engines that are no longer discovered. A name may return, such as that of a pod of a
/// StatefulSet; the names of most pods do not.
const RETENTION_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// The names of a pool and of an engine in it.
type EngineKey = (String, String);

/// The drains whose event has been sent, by pool and engine: what is draining now.
#[derive(Clone, Debug, Default)]
pub struct ActiveDrains(Arc<Mutex<BTreeMap<EngineKey, SentDrain>>>);

impl ActiveDrains {
    /// The drain of an engine, if it is draining.
    #[must_use]
    pub fn get(&self, pool: &str, engine: &str) -> Option<Drain> {
        let sent = self.0.lock();
        let sent = sent.get(&(pool.to_owned(), engine.to_owned()));
        sent.map(|entry| entry.drain())
    }
}

/// Sends an event to the gateways.
pub type SendEvent = Box<dyn Fn(GatewayEvent) + Send + Sync>;

struct Shared {
    fleet: FleetReader,
    accounting_registry: AccountingRegistry,
    store: Arc<dyn Coordination>,
    clock: Arc<dyn Clock>,
    send_event: SendEvent,
    /// For each pool, the period over which the sockets of a terminating engine are closed.
    drain_durations: BTreeMap<String, Duration>,
    /// The records of operators, as last read. Bounded, because operators drain existing engines, and the records of
    /// engines that are gone are deleted.
    operator_drains: Mutex<BTreeMap<EngineKey, Drain>>,
    /// The last event for each engine that is draining.
    sent: ActiveDrains,
}

/// The drains of all engines, and the task that applies them.
pub struct Drains {
    shared: Arc<Shared>,
    watch_task: AbortHandle,
}

impl Drop for Drains {
    fn drop(&mut self) {
        self.watch_task.abort();
    }
}

impl Drains {
    /// Applies the records of the store before it returns, and then starts a task that follows the records and the
    /// fleet. `durations` has for each pool the period over which the sockets of a terminating engine are closed;
    /// `active` will have the drains.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn start(
        fleet: FleetReader,
        accounting_registry: AccountingRegistry,
        store: Arc<dyn Coordination>,
        clock: Arc<dyn Clock>,
        durations: BTreeMap<String, Duration>,
        active: ActiveDrains,
        send_event: SendEvent,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            fleet,
            accounting_registry,
            store,
            clock,
            send_event,
            drain_durations: durations,
            operator_drains: Mutex::default(),
            sent: active,
        });
        shared.refresh().await?;
        let watching = tokio::spawn(watch(Arc::clone(&shared))).abort_handle();
        Ok(Self {
            shared,
            watch_task: watching,
        })
    }

    /// Drains an engine over that period. Restarts the drain if the engine is draining.
    ///
    /// # Errors
    /// When the store does not respond. Nothing has changed then.
    pub async fn drain(
        &self,
        pool: &str,
        engine: &str,
        duration: Duration,
    ) -> Result<(), StoreError> {
        let drain = Drain::starting(self.shared.clock.now_ms(), duration);
        let text = encode_record(&drain)?;
        self.shared
            .store
            .put_value(&record_key(pool, engine), Some(&text))
            .await?;
        info!(pool, engine, over_ms = drain.over_ms, "engine is drained");
        self.shared.refresh().await
    }

    /// Ends a drain: the engine gets new sessions again. Gateways still close the sockets that the drain has scheduled.
    ///
    /// # Errors
    /// When the store does not respond. Nothing has changed then.
    pub async fn undrain(&self, pool: &str, engine: &str) -> Result<(), StoreError> {
        self.shared
            .store
            .put_value(&record_key(pool, engine), None)
            .await?;
        info!(pool, engine, "engine is no longer drained");
        self.shared.refresh().await
    }

    /// The drain of an engine, if it is draining.
    #[must_use]
    pub fn get(&self, pool: &str, engine: &str) -> Option<Drain> {
        self.shared.sent.get(pool, engine)
    }
}

/// A drain as a text for the store.
pub(crate) fn encode_record(drain: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(drain)
        .map_err(|e| StoreError::Data(format!("a drain record cannot be encoded: {e}")))
}

fn record_key(pool: &str, engine: &str) -> String {
    format!("{KEY_PREFIX}{pool}/{engine}")
}

async fn watch(shared: Arc<Shared>) {
    let mut ticks = ticker(READ_INTERVAL);
    let mut read_failed = false;
    loop {
        ticks.tick().await;
        let drains = shared.load().await;
        if let Err(error) = &drains
            && !read_failed
        {
            warn!(%error, "drains cannot be read; the last known ones continue");
        }
        read_failed = drains.is_err();
        shared.apply();
    }
}

impl Shared {
    fn lock_sent(&self) -> MutexGuard<'_, BTreeMap<EngineKey, SentDrain>> {
        self.sent.0.lock()
    }

    fn operator_drains(&self) -> MutexGuard<'_, BTreeMap<EngineKey, Drain>> {
        self.operator_drains.lock()
    }

    /// Reads the records, and applies them.
    async fn refresh(&self) -> Result<(), StoreError> {
        self.load().await?;
        self.apply();
        Ok(())
    }

    /// Reads the records, and deletes those of engines that have been gone for longer than the retention.
    async fn load(&self) -> Result<(), StoreError> {
        let values = self.store.list_values(KEY_PREFIX).await?;
        let mut drains: BTreeMap<EngineKey, Drain> = values
            .iter()
            .filter_map(|(n, t)| parse_record(n, t))
            .collect();
        let old_ms = self.clock.now_ms().saturating_sub(RETENTION_MS);
        let outdated = drains.extract_if(.., |name, drain| {
            drain.since_ms.saturating_add(drain.over_ms) < old_ms && self.is_gone(name)
        });
        for ((pool, engine), _) in outdated.collect::<Vec<_>>() {
            self.store
                .put_value(&record_key(&pool, &engine), None)
                .await?;
            info!(
                pool,
                engine, "the drain of an engine that is gone is deleted"
            );
        }
        *self.operator_drains() = drains;
        Ok(())
    }

    /// True when all sources of the pool work and none lists the engine.
    fn is_gone(&self, (pool, engine): &EngineKey) -> bool {
        let fleet = self.fleet.snapshot();
        let pool = fleet.pools().iter().find(|p| *p.name == **pool);
        pool.is_some_and(|pool| {
            pool.current && !pool.engines.iter().any(|e| e.name.as_str() == engine)
        })
    }

    /// The engines that their discovery reports as terminating, with the period of their drain in milliseconds.
    fn terminating_engines(&self) -> Vec<(EngineKey, u64)> {
        let fleet = self.fleet.snapshot();
        let of_pool = |pool: &PoolFleet| {
            let over_ms = self
                .drain_durations
                .get(&*pool.name)
                .map_or(0, |duration| millis(*duration));
            let leaving = pool.engines.iter().filter(|engine| engine.terminating);
            let drains = leaving.map(|e| ((pool.name.to_string(), e.name.to_string()), over_ms));
            drains.collect::<Vec<_>>()
        };
        fleet.pools().iter().flat_map(of_pool).collect()
    }

    /// Marks the draining engines, and sends the gateways the events that they do not have yet.
    fn apply(&self) {
        let now_ms = self.clock.now_ms();
        let mut drained = self.operator_drains().clone();
        let mut events = Vec::new();
        // Mark first and send after that: a client whose socket closes must not be placed on the same engine again.
        {
            let mut sent_drains = self.lock_sent();
            for (name, over_ms) in self.terminating_engines() {
                let previous = sent_drains.get(&name).map(|sent| sent.drain());
                // The period that an operator has set takes precedence.
                drained.entry(name).or_insert_with(|| {
                    previous.unwrap_or(Drain {
                        since_ms: now_ms,
                        over_ms,
                    })
                });
            }
            for (name, _) in sent_drains.extract_if(.., |name, _| !drained.contains_key(name)) {
                let accounting = self.accounting(&name);
                accounting.set_draining(false);
                accounting.mark_ready(Instant::now());
                let (pool, engine) = name;
                events.push(GatewayEvent::EngineUndrained { pool, engine });
            }
            for (name, drain) in drained {
                self.accounting(&name).set_draining(true);
                let has_sockets = || self.accounting(&name).snapshot(Instant::now()).open > 0;
                let previous_send = sent_drains.get(&name).copied();
                let (sent, over_ms) = SentDrain::next(previous_send, drain, now_ms, has_sockets);
                if let Some(over_ms) = over_ms {
                    let (pool, engine) = name.clone();
                    events.push(GatewayEvent::EngineDrained {
                        pool,
                        engine,
                        over_ms,
                    });
                }
                sent_drains.insert(name, sent);
            }
        }
        for event in events {
            (self.send_event)(event);
        }
    }

    /// The accounting of an engine. It exists before the engine is discovered.
    fn accounting(&self, (pool, engine): &EngineKey) -> Arc<EngineAccounting> {
        let engine = EngineName::from(engine.as_str());
        self.accounting_registry
            .get_or_create(&pool.as_str().into(), &engine)
    }
}

/// Parses a record. `None` when it is not one that this service has written.
fn parse_record(name: &str, text: &str) -> Option<(EngineKey, Drain)> {
    let (pool, engine) = name.strip_prefix(KEY_PREFIX)?.split_once('/')?;
    let drain = serde_json::from_str(text).ok()?;
    Some(((pool.to_owned(), engine.to_owned()), drain))
}

#[cfg(test)]
mod tests;
