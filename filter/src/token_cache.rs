//! The tokens that the requests of a configuration share: the cache, and the calls that several requests wait for.
//! Returns the waiters of a completed call; [`crate::waiters`] completes them. Decides nothing.

use crate::abi;
use crate::service_client::post;
use berth_api::TOKENS_PATH;
use berth_filter_core::auth::single_flight::{CompletedFlight, SingleFlight};
use berth_filter_core::auth::token_cache::{self, CacheKey, CachedToken, Settings};
use berth_filter_core::config::Service;
use berth_filter_core::control::Invalidation;
use berth_filter_core::decision::pending::{PendingRequest, TokenResult};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A request that waits for the call of another one.
pub(crate) struct Waiter {
    pub(crate) pending: Box<PendingRequest>,
    /// Set when the request is resumed; its context reads it.
    pub(crate) resumed: Rc<Cell<bool>>,
}

/// The tokens of one configuration in one worker.
pub(crate) struct TokenCache {
    cache: RefCell<token_cache::TokenCache>,
    flights: RefCell<SingleFlight<Waiter>>,
}

impl TokenCache {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            cache: RefCell::new(token_cache::TokenCache::new(settings)),
            flights: RefCell::default(),
        }
    }

    /// The cached token of a session. Without `events_current`, none is used.
    pub(crate) fn find(
        &self,
        key: &CacheKey,
        now: u64,
        events_current: bool,
    ) -> Option<Rc<CachedToken>> {
        self.cache
            .try_borrow_mut()
            .ok()?
            .find(key, now, events_current)
    }

    /// Caches the token of a call that started in `epoch`.
    pub(crate) fn insert(&self, key: CacheKey, result: &TokenResult, epoch: u64) {
        if let Ok(token) = result
            && let (Ok(now), Ok(mut cache)) = (abi::now_ms(), self.cache.try_borrow_mut())
        {
            cache.insert(key, token, epoch, now);
        }
    }

    /// Waits for the call of the session; returns `waiter` when none is in flight.
    pub(crate) fn wait(&self, key: &CacheKey, request: u32, waiter: Waiter) -> Result<(), Waiter> {
        match self.flights.try_borrow_mut() {
            Ok(mut flights) => flights.wait(key, request, waiter),
            Err(_) => Err(waiter),
        }
    }

    /// A request has sent the call of its session.
    pub(crate) fn start(&self, key: CacheKey, request: u32, body: Vec<u8>) {
        let epoch = self.epoch();
        if let Ok(mut flights) = self.flights.try_borrow_mut() {
            flights.start(key, request, body, epoch);
        }
    }

    /// Removes a request whose client has disconnected; true when waiters are left without a leader.
    pub(crate) fn leave(&self, key: &CacheKey, request: u32) -> bool {
        let flights = self.flights.try_borrow_mut();
        flights.is_ok_and(|mut flights| flights.leave(key, request))
    }

    /// The call of this request has completed: returns its waiters.
    pub(crate) fn complete(&self, key: &CacheKey, request: u32) -> Option<CompletedFlight<Waiter>> {
        let mut flights = self.flights.try_borrow_mut().ok()?;
        flights.complete(key, request)
    }

    /// Repeats the leaderless calls from the root context, which is in effect. Returns those that could not be sent.
    pub(crate) fn take_over(&self, service: &Service) -> Vec<(CacheKey, CompletedFlight<Waiter>)> {
        let leaderless = match self.flights.try_borrow() {
            Ok(flights) => flights.leaderless(),
            Err(_) => return Vec::new(),
        };
        let mut failed = Vec::new();
        for (label, (key, body)) in leaderless.into_iter().enumerate() {
            let call = post(service, label, TOKENS_PATH, &body, service.timeout_ms);
            let epoch = self.epoch();
            let Ok(mut flights) = self.flights.try_borrow_mut() else {
                break;
            };
            match call {
                Ok(call) => flights.take_over(&key, call, epoch),
                Err(_) => failed.extend(flights.fail(&key).map(|flight| (key, flight))),
            }
        }
        failed
    }

    /// A call of the root context has completed: returns its waiters. `None` when it was not one of these.
    pub(crate) fn complete_takeover(
        &self,
        call: u32,
    ) -> Option<(CacheKey, CompletedFlight<Waiter>)> {
        let mut flights = self.flights.try_borrow_mut().ok()?;
        flights.complete_takeover(call)
    }

    /// Removes the tokens that events invalidate.
    pub(crate) fn apply_events(&self, invalidation: &Invalidation) {
        if let Ok(mut cache) = self.cache.try_borrow_mut() {
            if invalidation.all {
                cache.clear();
            }
            cache.remove_sessions(&invalidation.sessions);
        }
    }

    /// Removes every token: a token of a removed key must not be used.
    pub(crate) fn clear(&self) {
        if let Ok(mut cache) = self.cache.try_borrow_mut() {
            cache.clear();
        }
    }

    fn epoch(&self) -> u64 {
        self.cache.try_borrow().map_or(0, |cache| cache.epoch())
    }
}
