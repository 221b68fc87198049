//! The accounting of every engine by name. It outlives a temporary loss of the engine in discovery, and exists before
//! discovery finds an engine whose streams a gateway has reported already.

use super::{LedgerEntry, Reservation, StreamCounts, Tally};
use crate::capacity_ledger::CapacityLedger;
use crate::engine::endpoint::{Endpoint, EngineName};
use moka::sync::Cache;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Maximum number of placements whose accounting is found by the stream's name.
const PLACED: u64 = 500_000;

/// The accounting of all engines, shared by the fleet, the placements and the gateways' reports.
#[derive(Clone, Debug)]
pub struct Tallies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ttl: Duration,
    ledger: Option<Arc<dyn CapacityLedger>>,
    placed: Cache<String, Arc<Tally>>,
    /// Engines that discovery has found, or that have streams. Discoveries and gateways' reports are bounded.
    engines: Mutex<HashMap<(Arc<str>, EngineName), Entry>>,
    streams: StreamCounts,
}

#[derive(Debug)]
struct Entry {
    /// `None` until discovery finds it.
    endpoint: Option<Endpoint>,
    tally: Arc<Tally>,
}

impl Tallies {
    /// Empty. A placement that no gateway reports open counts for at most `ttl`.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self::with(ttl, None)
    }

    /// Empty; changes are reported to the replicas' ledger, if there is one.
    #[must_use]
    pub fn with(ttl: Duration, ledger: Option<Arc<dyn CapacityLedger>>) -> Self {
        let placed = Cache::builder().max_capacity(PLACED).time_to_live(ttl);
        Self(Arc::new(Inner {
            ttl,
            ledger,
            placed: placed.build(),
            engines: Mutex::default(),
            streams: StreamCounts::default(),
        }))
    }

    /// The session is on the engine; gateways will report its stream under the name `stream`.
    pub fn placed(&self, reservation: Reservation, stream: &str, now: Instant) {
        let tally = Arc::clone(&reservation.tally);
        self.0.placed.insert(stream.to_owned(), tally);
        reservation.placed(stream, now);
    }

    /// The placement failed after all: it no longer counts.
    pub fn refused(&self, stream: &str, now: Instant) {
        if let Some(tally) = self.0.placed.remove(stream) {
            tally.closed(stream, Duration::ZERO, now);
        }
        // Another replica may have it.
        self.closed_elsewhere(stream);
    }

    /// The stream is closed and not in the accounting of this replica, although a gateway of this replica had it open.
    pub fn closed_elsewhere(&self, stream: &str) {
        if let Some(ledger) = &self.0.ledger {
            ledger.closed(stream);
        }
    }

    /// The accounting of an engine that discovery has found. At another address it is another engine, which has none of
    /// the streams; a drain belongs to the name and stays.
    #[must_use]
    pub fn found(&self, pool: &Arc<str>, name: &EngineName, endpoint: Endpoint) -> Arc<Tally> {
        let mut engines = self.engines();
        let entry = self.entry(&mut engines, pool, name);
        if entry
            .endpoint
            .is_some_and(|before| before.api != endpoint.api)
        {
            let draining = entry.tally.lock().draining;
            entry.tally = self.0.new_accounting(pool, name);
            entry.tally.drain(draining);
        }
        entry.endpoint = Some(endpoint);
        Arc::clone(&entry.tally)
    }

    /// The accounting in which a stream was placed; that of its engine when another replica placed it, or long ago.
    #[must_use]
    pub fn with_stream(&self, stream: &str, pool: &Arc<str>, name: &EngineName) -> Arc<Tally> {
        let placed = self.0.placed.get(stream);
        placed.unwrap_or_else(|| self.of(pool, name))
    }

    /// The accounting of an engine by its name.
    #[must_use]
    pub fn of(&self, pool: &Arc<str>, name: &EngineName) -> Arc<Tally> {
        let mut engines = self.engines();
        Arc::clone(&self.entry(&mut engines, pool, name).tally)
    }

    /// Removes engines that are gone and have no streams.
    pub fn tidy(&self, now: Instant) {
        self.engines().retain(|_, entry| {
            entry.tally.lapse(now);
            Arc::strong_count(&entry.tally) > 1 || !entry.tally.is_empty()
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
            tally: self.0.new_accounting(pool, name),
        })
    }

    /// The number of streams of each login session in each pool.
    #[must_use]
    pub fn streams(&self) -> &StreamCounts {
        &self.0.streams
    }

    /// Sets the sessions through other replicas, by engine (`pool/name`).
    pub fn elsewhere(&self, counts: &HashMap<String, u32>, now: Instant) {
        for ((pool, name), entry) in self.engines().iter() {
            let count = counts.get(&ledger_key(pool, name)).copied();
            entry.tally.elsewhere(count.unwrap_or(0), now);
        }
    }

    /// Removes placements that no gateway has reported open in time.
    pub fn lapse(&self, now: Instant) {
        for entry in self.engines().values() {
            entry.tally.lapse(now);
        }
    }

    /// Another replica has the stream on that engine (`pool/name`) now, or knows that it is closed.
    pub fn moved(&self, stream: &str, engine: &str) {
        if let Some((pool, name)) = engine.split_once('/') {
            let tally = self.with_stream(stream, &pool.into(), &name.into());
            tally.moved(stream);
        }
        self.0.placed.invalidate(stream);
    }

    fn engines(&self) -> MutexGuard<'_, HashMap<(Arc<str>, EngineName), Entry>> {
        let engines = self.0.engines.lock();
        engines.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Creates the accounting of an engine.
    fn new_accounting(&self, pool: &Arc<str>, name: &EngineName) -> Arc<Tally> {
        let ledger = self.ledger.clone();
        let entry = ledger.map(|ledger| LedgerEntry::new(ledger, ledger_key(pool, name).into()));
        Arc::new(Tally::with(self.ttl, entry, self.streams.pool(pool)))
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
        let (tallies, pool) = (Tallies::new(TTL), Arc::from("p"));
        let name = EngineName::from("e");
        let now = Instant::now();
        tallies.of(&pool, &name).opened("s", "r", now);
        let first = tallies.found(&pool, &name, endpoint(1));
        assert_eq!(first.standing(now).open, 1, "reported before it was found");
        drop(first);
        tallies.tidy(now);
        let again = tallies.found(&pool, &name, endpoint(1));
        assert_eq!(again.standing(now).open, 1);
        let other = tallies.found(&pool, &name, endpoint(2));
        assert_eq!(other.standing(now).open, 0);
    }

    #[test]
    fn a_drain_belongs_to_the_name() {
        let (tallies, pool, now) = (Tallies::new(TTL), Arc::from("p"), Instant::now());
        let name = EngineName::from("e");
        tallies.of(&pool, &name).drain(true);
        tallies.tidy(now);
        for port in [1, 2] {
            let tally = tallies.found(&pool, &name, endpoint(port));
            assert!(tally.standing(now).draining);
        }
        tallies.of(&pool, &name).drain(false);
        tallies.tidy(now);
        assert_eq!(tallies.engines().len(), 0);
    }

    #[test]
    fn a_failed_placement_is_released_by_its_stream() {
        let (tallies, now) = (Tallies::new(TTL), Instant::now());
        let tally = tallies.of(&Arc::from("p"), &EngineName::from("e"));
        tallies.placed(tally.reserve(1), "s", now);
        assert_eq!(tally.standing(now).own, 1);
        tallies.refused("other", now);
        assert_eq!(tally.standing(now).own, 1);
        tallies.refused("s", now);
        assert_eq!(tally.standing(now).own, 0);
    }

    #[test]
    fn a_removed_engine_without_streams_is_forgotten() {
        let (tallies, pool) = (Tallies::new(TTL), Arc::from("p"));
        let name = EngineName::from("e");
        let tally = tallies.found(&pool, &name, endpoint(1));
        tallies.tidy(Instant::now());
        assert_eq!(tallies.engines().len(), 1);
        drop(tally);
        tallies.tidy(Instant::now());
        assert_eq!(tallies.engines().len(), 0);
    }
}
