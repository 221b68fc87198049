//! The books of every engine by name. They outlive a discovery that loses sight of an engine for a
//! while, and are there before it finds one whose streams a gateway has reported already.

use super::{Account, Reservation, StreamCounts, Tally};
use crate::capacity_ledger::CapacityLedger;
use crate::engine::endpoint::{Endpoint, EngineName};
use moka::sync::Cache;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Placements whose books are found by the stream's name until a gateway reports it.
const PLACED: u64 = 500_000;

/// Shared by whoever finds engines and whoever hears of their streams.
#[derive(Clone, Debug)]
pub struct Tallies(Arc<All>);

#[derive(Debug)]
struct All {
    ttl: Duration,
    ledger: Option<Arc<dyn CapacityLedger>>,
    placed: Cache<String, Arc<Tally>>,
    /// Engines that were found, or have streams: those of discoveries and of gateways' reports are bounded.
    engines: Mutex<HashMap<(Arc<str>, EngineName), Kept>>,
    streams: StreamCounts,
}

#[derive(Debug)]
struct Kept {
    /// `None` until it is found.
    endpoint: Option<Endpoint>,
    tally: Arc<Tally>,
}

impl Tallies {
    /// None yet. A placement that no gateway reports open counts for `ttl` at the most.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self::with(ttl, None)
    }

    /// None yet; told to the replicas' ledger, if there is one.
    #[must_use]
    pub fn with(ttl: Duration, ledger: Option<Arc<dyn CapacityLedger>>) -> Self {
        let placed = Cache::builder().max_capacity(PLACED).time_to_live(ttl);
        Self(Arc::new(All {
            ttl,
            ledger,
            placed: placed.build(),
            engines: Mutex::default(),
            streams: StreamCounts::default(),
        }))
    }

    /// The session is on the engine; `stream` is what gateways will call it.
    pub fn placed(&self, reservation: Reservation, stream: &str, now: Instant) {
        let tally = Arc::clone(&reservation.tally);
        self.0.placed.insert(stream.to_owned(), tally);
        reservation.placed(stream, now);
    }

    /// A placement came to nothing: it counts no more.
    pub fn refused(&self, stream: &str, now: Instant) {
        if let Some(tally) = self.0.placed.remove(stream) {
            tally.closed(stream, Duration::ZERO, now);
        }
        // Another replica may have it.
        self.closed_elsewhere(stream);
    }

    /// It is closed, and not in the books of this replica, although a gateway of it had it open.
    pub fn closed_elsewhere(&self, stream: &str) {
        if let Some(ledger) = &self.0.ledger {
            ledger.closed(stream);
        }
    }

    /// The books of an engine that was found there. At another address it is another engine, which has
    /// none of the streams; that it is drained goes by the name.
    #[must_use]
    pub fn found(&self, pool: &Arc<str>, name: &EngineName, endpoint: Endpoint) -> Arc<Tally> {
        let mut engines = self.engines();
        let kept = self.kept(&mut engines, pool, name);
        if kept
            .endpoint
            .is_some_and(|before| before.api != endpoint.api)
        {
            let draining = kept.tally.books().draining;
            kept.tally = self.0.books(pool, name);
            kept.tally.drain(draining);
        }
        kept.endpoint = Some(endpoint);
        Arc::clone(&kept.tally)
    }

    /// The books that a stream was placed in; those of its engine when that was elsewhere, or long ago.
    #[must_use]
    pub fn with_stream(&self, stream: &str, pool: &Arc<str>, name: &EngineName) -> Arc<Tally> {
        let placed = self.0.placed.get(stream);
        placed.unwrap_or_else(|| self.of(pool, name))
    }

    /// The books of an engine by its name.
    #[must_use]
    pub fn of(&self, pool: &Arc<str>, name: &EngineName) -> Arc<Tally> {
        let mut engines = self.engines();
        Arc::clone(&self.kept(&mut engines, pool, name).tally)
    }

    /// Forgets engines that are gone and have no streams.
    pub fn tidy(&self, now: Instant) {
        self.engines().retain(|_, kept| {
            kept.tally.lapse(now);
            Arc::strong_count(&kept.tally) > 1 || !kept.tally.is_empty()
        });
        self.0.streams.remove_unused();
    }

    fn kept<'a>(
        &self,
        engines: &'a mut HashMap<(Arc<str>, EngineName), Kept>,
        pool: &Arc<str>,
        name: &EngineName,
    ) -> &'a mut Kept {
        let key = (Arc::clone(pool), name.clone());
        engines.entry(key).or_insert_with(|| Kept {
            endpoint: None,
            tally: self.0.books(pool, name),
        })
    }

    /// How many streams each session has in each pool.
    #[must_use]
    pub fn streams(&self) -> &StreamCounts {
        &self.0.streams
    }

    /// What other replicas have, by engine (`pool/name`).
    pub fn elsewhere(&self, counts: &HashMap<String, u32>, now: Instant) {
        for ((pool, name), kept) in self.engines().iter() {
            let count = counts.get(&account_of(pool, name)).copied();
            kept.tally.elsewhere(count.unwrap_or(0), now);
        }
    }

    /// Reservations that have not been used in time count no more.
    pub fn lapse(&self, now: Instant) {
        for kept in self.engines().values() {
            kept.tally.lapse(now);
        }
    }

    /// Another replica has the stream on that engine (`pool/name`) now, or knows that it is closed.
    pub fn moved(&self, stream: &str, engine: &str) {
        if let Some((pool, name)) = engine.split_once('/') {
            let books = self.with_stream(stream, &pool.into(), &name.into());
            books.moved(stream);
        }
        self.0.placed.invalidate(stream);
    }

    fn engines(&self) -> MutexGuard<'_, HashMap<(Arc<str>, EngineName), Kept>> {
        let engines = self.0.engines.lock();
        engines.unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    /// New books of an engine.
    fn books(&self, pool: &Arc<str>, name: &EngineName) -> Arc<Tally> {
        let ledger = self.ledger.clone();
        let account = ledger.map(|ledger| Account::new(ledger, account_of(pool, name).into()));
        Arc::new(Tally::with(self.ttl, account, self.streams.pool(pool)))
    }
}

/// An engine in the ledger. A pool's name has no slash in it.
fn account_of(pool: &str, name: &EngineName) -> String {
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
    fn an_engine_that_comes_back_has_its_streams_and_another_one_has_none() {
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
    fn an_engine_that_is_drained_is_so_before_it_is_found_and_wherever() {
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
    fn a_placement_that_came_to_nothing_is_found_by_its_streams_name() {
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
    fn nothing_is_kept_of_an_engine_that_is_gone_without_streams() {
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
