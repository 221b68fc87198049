//! The engines that the plain requests of a configuration share: the cache, the calls that several requests wait for, and
//! the requests whose call the next tick makes. `W` is what the host keeps for a request that waits. Decides nothing.

use crate::abi;
use berth_filter_core::affinity::{AffinityCache, EngineLookup, EngineRoute};
use berth_filter_core::auth::single_flight::SingleFlight;
use berth_filter_core::auth::token_cache::{CacheKey, Settings};
use berth_filter_core::control::Told;
use std::cell::RefCell;
use std::rc::Rc;

/// The engines of one configuration in one worker.
pub(crate) struct EngineCache<W> {
    cache: RefCell<AffinityCache>,
    flights: RefCell<SingleFlight<W>>,
    /// Requests by their id, until the next tick makes their calls.
    due: RefCell<Vec<(u32, W)>>,
}

impl<W> EngineCache<W> {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            cache: RefCell::new(AffinityCache::new(settings)),
            flights: RefCell::default(),
            due: RefCell::default(),
        }
    }

    /// The engine of a request. Without `events_current`, none is known.
    pub(crate) fn find(
        &self,
        lookup: &EngineLookup,
        now: u64,
        events_current: bool,
    ) -> Option<Rc<EngineRoute>> {
        let EngineLookup {
            credential,
            host,
            path,
            ..
        } = lookup;
        let mut cache = self.cache.try_borrow_mut().ok()?;
        cache.find(credential, host, path, now, events_current)
    }

    /// Grows when events may have been missed.
    pub(crate) fn generation(&self) -> u64 {
        let cache = self.cache.try_borrow();
        cache.map_or(0, |cache| cache.generation())
    }

    /// Caches the answer to a call. False: its engine is outdated.
    pub(crate) fn insert(
        &self,
        credential: CacheKey,
        route: &Rc<EngineRoute>,
        lifetime_ms: u64,
        sent_at: u64,
        generation: u64,
    ) -> bool {
        match (abi::now_ms(), self.cache.try_borrow_mut()) {
            (Ok(now), Ok(mut cache)) => {
                cache.insert(credential, route, lifetime_ms, sent_at, generation, now)
            }
            _ => true,
        }
    }

    /// Waits for a call; returns `waiter` when none is in flight.
    pub(crate) fn wait(&self, flight: &CacheKey, request: u32, waiter: W) -> Result<(), W> {
        match self.flights.try_borrow_mut() {
            Ok(mut flights) => flights.wait(flight, request, waiter),
            Err(_) => Err(waiter),
        }
    }

    /// A request has sent a call that others may wait for. It is never repeated as it is: see [`Self::take_due`].
    pub(crate) fn start(&self, flight: CacheKey, request: u32) {
        if let Ok(mut flights) = self.flights.try_borrow_mut() {
            flights.start(flight, request, Vec::new(), 0);
        }
    }

    /// Removes a request whose client has disconnected; true when waiters are left without a call.
    pub(crate) fn leave(&self, flight: &CacheKey, request: u32) -> bool {
        let flights = self.flights.try_borrow_mut();
        flights.is_ok_and(|mut flights| flights.leave(flight, request))
    }

    /// The call of this request has completed: returns the waiters, each after its id.
    pub(crate) fn complete(&self, flight: &CacheKey, request: u32) -> Vec<(u32, W)> {
        let completed = match self.flights.try_borrow_mut() {
            Ok(mut flights) => flights.complete(flight, request),
            Err(_) => None,
        };
        completed.map_or_else(Vec::new, |flight| flight.waiters)
    }

    /// The next tick makes the call of this request.
    pub(crate) fn call_later(&self, request: u32, waiter: W) {
        if let Ok(mut due) = self.due.try_borrow_mut() {
            due.push((request, waiter));
        }
    }

    /// The requests whose call is due: those of [`Self::call_later`], and those that waited for the call of a request
    /// whose client has disconnected. They have paths of their own, so that call is not repeated for them.
    pub(crate) fn take_due(&self) -> Vec<(u32, W)> {
        let due = self.due.try_borrow_mut();
        let mut due = due.map_or_else(|_| Vec::new(), |mut due| std::mem::take(&mut *due));
        if let Ok(mut flights) = self.flights.try_borrow_mut() {
            for (flight, _) in flights.leaderless() {
                let completed = flights.fail(&flight);
                due.extend(completed.into_iter().flat_map(|flight| flight.waiters));
            }
        }
        due
    }

    /// Removes what events invalidate. `now` is the time at which they arrived.
    pub(crate) fn apply_events(&self, invalidation: &Told, now: u64) {
        let Ok(mut cache) = self.cache.try_borrow_mut() else {
            return;
        };
        if invalidation.lost {
            cache.clear();
        }
        cache.remove_sessions(&invalidation.ended);
        for (key, epoch) in &invalidation.moved_keys {
            cache.key_moved(key, *epoch, now);
        }
        for (pool, engine) in &invalidation.closed_engines {
            cache.engine_closed(pool.clone(), engine.clone(), now);
        }
    }

    /// Removes every entry: a token of a removed key must not be used.
    pub(crate) fn clear(&self) {
        if let Ok(mut cache) = self.cache.try_borrow_mut() {
            cache.clear();
        }
    }
}
