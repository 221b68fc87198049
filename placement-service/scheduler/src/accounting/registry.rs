//! The accounting of every engine by name. It outlives a temporary loss of the engine in discovery, and exists before
//! discovery finds an engine whose streams a gateway has reported already.

use super::{
    EngineAccounting, EngineSession, LedgerEntry, Reservation, SessionLifetime, StreamCounts,
};
use crate::capacity_ledger::CapacityLedger;
use crate::engine::endpoint::{Endpoint, EngineName};
use moka::sync::Cache;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of placements whose accounting is found by the stream's name.
const PLACED: u64 = 500_000;

/// The accounting of all engines, shared by the fleet, the placements and the gateways' reports.
#[derive(Clone, Debug)]
pub struct AccountingRegistry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ttl: Duration,
    /// By pool; sessions of other pools end with their stream.
    lifetimes: HashMap<String, SessionLifetime>,
    ledger: Option<Arc<dyn CapacityLedger>>,
    placed: Cache<String, Arc<EngineAccounting>>,
    /// Engines that discovery has found, or that have streams. Discoveries and gateways' reports are bounded.
    engines: Mutex<HashMap<(Arc<str>, EngineName), Entry>>,
    streams: StreamCounts,
}

#[derive(Debug)]
struct Entry {
    /// `None` until discovery finds it.
    endpoint: Option<Endpoint>,
    accounting: Arc<EngineAccounting>,
}

impl AccountingRegistry {
    /// Empty. A placement that no gateway reports open counts for at most `ttl`.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self::with_ledger(ttl, HashMap::new(), None)
    }

    /// Empty, with the lifetime of the engine sessions of each pool; changes are reported to the replicas' ledger, if
    /// there is one.
    #[must_use]
    pub fn with_ledger(
        ttl: Duration,
        lifetimes: HashMap<String, SessionLifetime>,
        ledger: Option<Arc<dyn CapacityLedger>>,
    ) -> Self {
        let placed = Cache::builder().max_capacity(PLACED).time_to_live(ttl);
        Self(Arc::new(Inner {
            ttl,
            lifetimes,
            ledger,
            placed: placed.build(),
            engines: Mutex::default(),
            streams: StreamCounts::default(),
        }))
    }

    /// The session is on the engine; gateways will report its stream under the name `stream`.
    pub fn placed(&self, reservation: Reservation, stream: &str, now: Instant) -> EngineSession {
        let accounting = Arc::clone(&reservation.accounting);
        self.0.placed.insert(stream.to_owned(), accounting);
        reservation.placed(stream, now)
    }

    /// The placement failed after all: it no longer counts, unless its session outlives it.
    pub fn release_placement(&self, stream: &str, now: Instant) {
        let accounting = self.0.placed.remove(stream);
        if !accounting.is_some_and(|accounting| accounting.closed(stream, Duration::ZERO, now)) {
            // Another replica may have it.
            self.close_in_ledger(stream);
        }
    }

    /// The stream is closed and not in the accounting of this replica, although a gateway of this replica had it open.
    pub fn close_in_ledger(&self, stream: &str) {
        if let Some(ledger) = &self.0.ledger {
            ledger.closed(stream);
        }
    }

    /// The accounting of an engine that discovery has found. At another address it is another engine, which has none of
    /// the streams; a drain belongs to the name and stays.
    #[must_use]
    pub fn register(
        &self,
        pool: &Arc<str>,
        name: &EngineName,
        endpoint: Endpoint,
    ) -> Arc<EngineAccounting> {
        let mut engines = self.engines();
        let entry = self.entry(&mut engines, pool, name);
        if entry
            .endpoint
            .is_some_and(|previous| previous.api != endpoint.api)
        {
            let draining = entry.accounting.lock().draining;
            entry.accounting = self.0.new_accounting(pool, name);
            entry.accounting.set_draining(draining);
        }
        entry.endpoint = Some(endpoint);
        Arc::clone(&entry.accounting)
    }

    /// The accounting in which a stream was placed; that of its engine when another replica placed it, or long ago.
    #[must_use]
    pub fn find_by_stream(
        &self,
        stream: &str,
        pool: &Arc<str>,
        name: &EngineName,
    ) -> Arc<EngineAccounting> {
        let placed = self.0.placed.get(stream);
        placed.unwrap_or_else(|| self.get_or_create(pool, name))
    }

    /// The accounting of an engine by its name.
    #[must_use]
    pub fn get_or_create(&self, pool: &Arc<str>, name: &EngineName) -> Arc<EngineAccounting> {
        let mut engines = self.engines();
        Arc::clone(&self.entry(&mut engines, pool, name).accounting)
    }

    /// Removes engines that are gone and have no streams.
    pub fn gc(&self, now: Instant) {
        self.engines().retain(|_, entry| {
            entry.accounting.expire(now);
            Arc::strong_count(&entry.accounting) > 1 || !entry.accounting.is_empty()
        });
        self.0.streams.remove_unused();
    }

    fn entry<'a>(
        &self,
        engines: &'a mut HashMap<(Arc<str>, EngineName), Entry>,
        pool: &Arc<str>,
        name: &EngineName,
    ) -> &'a mut Entry {
        let key = (Arc::clone(pool), name.clone());
        engines.entry(key).or_insert_with(|| Entry {
            endpoint: None,
            accounting: self.0.new_accounting(pool, name),
        })
    }

    /// The number of streams of each login session in each pool.
    #[must_use]
    pub fn streams(&self) -> &StreamCounts {
        &self.0.streams
    }

    /// Sets the sessions through other replicas, by engine (`pool/name`).
    pub fn set_remote_sessions(&self, counts: &HashMap<String, u32>, now: Instant) {
        for ((pool, name), entry) in self.engines().iter() {
            let count = counts.get(&ledger_key(pool, name)).copied();
            entry
                .accounting
                .set_remote_sessions(count.unwrap_or(0), now);
        }
    }

    /// Removes placements that no gateway has reported open in time.
    pub fn expire(&self, now: Instant) {
        for entry in self.engines().values() {
            entry.accounting.expire(now);
        }
    }

    /// Another replica has the stream on that engine (`pool/name`) now, or knows that it is closed.
    pub fn transferred(&self, stream: &str, engine: &str) {
        if let Some((pool, name)) = engine.split_once('/') {
            let accounting = self.find_by_stream(stream, &pool.into(), &name.into());
            accounting.transferred(stream);
        }
        self.0.placed.invalidate(stream);
    }

    fn engines(&self) -> MutexGuard<'_, HashMap<(Arc<str>, EngineName), Entry>> {
        self.0.engines.lock()
    }
}

impl Inner {
    /// Creates the accounting of an engine.
    fn new_accounting(&self, pool: &Arc<str>, name: &EngineName) -> Arc<EngineAccounting> {
        let ledger = self.ledger.clone();
        let entry = ledger.map(|ledger| LedgerEntry::new(ledger, ledger_key(pool, name).into()));
        let lifetime = self.lifetimes.get(&**pool).copied();
        Arc::new(EngineAccounting::with_ledger(
            self.ttl,
            lifetime.unwrap_or_default(),
            entry,
            self.streams.pool(pool),
        ))
    }
}

/// The name of an engine in the ledger. A pool's name has no slash in it.
fn ledger_key(pool: &str, name: &EngineName) -> String {
    format!("{pool}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn endpoint(port: u16) -> Endpoint {
        Endpoint {
            api: ([127, 0, 0, 1], port).into(),
            metrics: None,
        }
    }

    #[test]
    fn an_engine_keeps_its_streams_and_another_at_its_name_has_none() {
        let (registry, pool) = (AccountingRegistry::new(TTL), Arc::from("p"));
        let name = EngineName::from("e");
        let now = Instant::now();
        registry.get_or_create(&pool, &name).opened("s", "r", now);
        let first = registry.register(&pool, &name, endpoint(1));
        assert_eq!(first.snapshot(now).open, 1, "reported before it was found");
        drop(first);
        registry.gc(now);
        let reregistered = registry.register(&pool, &name, endpoint(1));
        assert_eq!(reregistered.snapshot(now).open, 1);
        let other = registry.register(&pool, &name, endpoint(2));
        assert_eq!(other.snapshot(now).open, 0);
    }

    #[test]
    fn a_drain_belongs_to_the_name() {
        let (registry, pool, now) = (AccountingRegistry::new(TTL), Arc::from("p"), Instant::now());
        let name = EngineName::from("e");
        registry.get_or_create(&pool, &name).set_draining(true);
        registry.gc(now);
        for port in [1, 2] {
            let accounting = registry.register(&pool, &name, endpoint(port));
            assert!(accounting.snapshot(now).draining);
        }
        registry.get_or_create(&pool, &name).set_draining(false);
        registry.gc(now);
        assert_eq!(registry.engines().len(), 0);
    }

    #[test]
    fn a_failed_placement_is_released_by_its_stream() {
        let (registry, now) = (AccountingRegistry::new(TTL), Instant::now());
        let accounting = registry.get_or_create(&Arc::from("p"), &EngineName::from("e"));
        registry.placed(accounting.reserve(1), "s", now);
        assert_eq!(accounting.snapshot(now).own, 1);
        registry.release_placement("other", now);
        assert_eq!(accounting.snapshot(now).own, 1);
        registry.release_placement("s", now);
        assert_eq!(accounting.snapshot(now).own, 0);
    }

    #[test]
    fn a_removed_engine_without_streams_is_forgotten() {
        let (registry, pool) = (AccountingRegistry::new(TTL), Arc::from("p"));
        let name = EngineName::from("e");
        let accounting = registry.register(&pool, &name, endpoint(1));
        registry.gc(Instant::now());
        assert_eq!(registry.engines().len(), 1);
        drop(accounting);
        registry.gc(Instant::now());
        assert_eq!(registry.engines().len(), 0);
    }
}
