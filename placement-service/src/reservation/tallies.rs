//! The books of every engine by name. They outlive a discovery that loses sight of an engine for a
//! while, and are there before it finds one whose streams a gateway has reported already.

use super::{Reservation, Tally};
use crate::engine::{Endpoint, EngineName};
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
    placed: Cache<String, Arc<Tally>>,
    engines: Mutex<HashMap<(Arc<str>, EngineName), Kept>>,
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
        let placed = Cache::builder().max_capacity(PLACED).time_to_live(ttl);
        Self(Arc::new(All {
            ttl,
            placed: placed.build(),
            engines: Mutex::default(),
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
    }

    /// The books of an engine that was found there. At another address it is another engine, which has
    /// none of the streams.
    #[must_use]
    pub fn found(&self, pool: &Arc<str>, name: &EngineName, endpoint: Endpoint) -> Arc<Tally> {
        let mut engines = self.engines();
        let kept = self.kept(&mut engines, pool, name);
        if kept.endpoint.is_some_and(|before| before != endpoint) {
            kept.tally = Arc::new(Tally::new(self.0.ttl));
        }
        kept.endpoint = Some(endpoint);
        Arc::clone(&kept.tally)
    }

    /// The books of an engine by its name.
    #[must_use]
    pub fn of(&self, pool: &Arc<str>, name: &EngineName) -> Arc<Tally> {
        let mut engines = self.engines();
        Arc::clone(&self.kept(&mut engines, pool, name).tally)
    }

    /// Forgets engines that are gone and have no streams.
    pub fn tidy(&self) {
        self.engines()
            .retain(|_, kept| Arc::strong_count(&kept.tally) > 1 || !kept.tally.is_empty());
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
            tally: Arc::new(Tally::new(self.0.ttl)),
        })
    }

    fn engines(&self) -> MutexGuard<'_, HashMap<(Arc<str>, EngineName), Kept>> {
        let engines = self.0.engines.lock();
        engines.unwrap_or_else(PoisonError::into_inner)
    }
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
        tallies.of(&pool, &name).opened("s", now);
        let first = tallies.found(&pool, &name, endpoint(1));
        assert_eq!(first.standing(now).open, 1, "reported before it was found");
        drop(first);
        tallies.tidy();
        let again = tallies.found(&pool, &name, endpoint(1));
        assert_eq!(again.standing(now).open, 1);
        let other = tallies.found(&pool, &name, endpoint(2));
        assert_eq!(other.standing(now).open, 0);
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
        tallies.tidy();
        assert_eq!(tallies.engines().len(), 1);
        drop(tally);
        tallies.tidy();
        assert_eq!(tallies.engines().len(), 0);
    }
}
