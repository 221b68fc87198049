//! A plain request to an engine: gets the engine of its key from the cache, from the call of another request, or by a call
//! of its own; and what happens to the engine's response. Decides nothing.

use super::call::{Call, EngineCall};
use super::{RESPONSE_DETAILS, RequestHandle, State};
use crate::abi::{self, Headers, streams};
use crate::metrics::CacheResult;
use crate::service_client::ServiceResponse;
use crate::shared::{EngineResponse, Shared};
use berth_filter_core::affinity::{EngineLookup, EngineRoute};
use berth_filter_core::auth::token_cache::CacheKey;
use berth_filter_core::decision::effects::{CallError, Callout, LocalReply};
use berth_filter_core::decision::engine_response::{
    ResponseHead, engine_failed, is_engine_failure,
};
use berth_filter_core::decision::pending::PendingRequest;
use berth_filter_core::decision::pending::engine::{self, PlacedRequest, holds_for_all_paths};
use berth_filter_core::request::path::without_query;
use proxy_wasm::types::Action;
use std::rc::Rc;

/// A request without a call in flight: it waits for the call of another one, or for the next tick.
pub(super) struct QueuedRequest {
    callout: Callout,
    pending: Box<PendingRequest>,
    /// The call that it waits for.
    flight: Option<CacheKey>,
    /// Its own call had an outdated answer.
    repeated: bool,
}

impl RequestHandle {
    /// Gets the engine from the cache, from a call in flight, or by a call of its own.
    pub(super) fn resolve_engine(
        &self,
        shared: &Shared,
        callout: Callout,
        pending: Box<PendingRequest>,
        lookup: &EngineLookup,
    ) -> Result<(), LocalReply> {
        if let Some(route) = find(shared, lookup) {
            shared.metrics.engine_cache(CacheResult::Hit);
            let outcome = pending.route_to(&shared.config, &route);
            let target = self.pass(outcome)?;
            self.settle(shared, target, shared.gateway.coarse_now());
            return Ok(());
        }
        if self.wait(shared, lookup) {
            shared.metrics.engine_cache(CacheResult::Coalesced);
            self.state.set(State::Queued(QueuedRequest {
                callout,
                pending,
                flight: lookup.flight,
                repeated: false,
            }));
            return Ok(());
        }
        shared.metrics.engine_cache(CacheResult::Miss);
        let flight = lookup.flight;
        self.call(shared, callout, pending, EngineCall::new(shared, flight))
    }

    /// Waits for the call of another request, if one is in flight.
    fn wait(&self, shared: &Shared, lookup: &EngineLookup) -> bool {
        let (Some(flight), Some(handler)) = (&lookup.flight, self.handler()) else {
            return false;
        };
        shared.engine_cache.wait(flight, self.id, handler).is_ok()
    }

    /// The request's own call has ended.
    pub(super) fn on_engine_answer(
        &self,
        shared: &Shared,
        call: Call,
        response: Option<&ServiceResponse>,
        now: u64,
    ) {
        let Call {
            pending,
            engine: called,
            callout,
            ..
        } = call;
        let Some(lookup) = pending.lookup().cloned() else {
            return;
        };
        let sent_at = call.since / 1_000;
        let has_ended = |session_ref: &str| shared.gateway.has_ended(session_ref);
        let result = match (response, shared.keys()) {
            (Some(ServiceResponse { status, body }), Some(keys)) => {
                engine::result(&keys, &has_ended, &lookup, *status, body)
            }
            _ => Err(CallError::Unreachable.into()),
        };
        let config = &shared.config;
        let mut answer = EngineResponse {
            path: without_query(&lookup.path).to_owned(),
            route: None,
            rejection: None,
        };
        match result {
            Ok(valid) => {
                let lifetime_ms = valid.lifetime_ms(sent_at);
                let route = Rc::new(valid.route);
                let is_current = shared.engine_cache.insert(
                    lookup.credential,
                    &route,
                    lifetime_ms,
                    sent_at,
                    called.generation,
                );
                if is_current {
                    self.finish(shared, pending.route_to(config, &route), now);
                    answer.route = Some(route);
                } else if called.repeated {
                    self.finish(shared, pending.reject(config, engine::moved()), now);
                } else {
                    self.call_later(shared, callout, pending, true);
                }
            }
            Err(rejection) => {
                answer.rejection = Some(rejection.clone());
                self.finish(shared, pending.reject(config, rejection), now);
            }
        }
        let Some(flight) = called.flight else { return };
        let waiters = shared.engine_cache.complete(&flight, self.id);
        let has_waiters = !waiters.is_empty();
        for (id, waiter) in waiters {
            // A request that has ended meanwhile has no context.
            if streams::set_effective_context(id).is_ok() {
                waiter.on_shared_engine(shared, &answer);
            }
        }
        if has_waiters {
            let _ = streams::set_effective_context(self.id);
        }
    }

    /// The call that the request waited for has ended.
    pub(super) fn on_engine_of_other(&self, shared: &Shared, answer: &EngineResponse) {
        let Some((queued, lookup)) = self.take_queued() else {
            return;
        };
        let QueuedRequest {
            callout, pending, ..
        } = queued;
        let config = &shared.config;
        let is_same_path = without_query(&lookup.path) == answer.path;
        let rejection = answer.rejection.as_ref();
        let rejection = rejection.filter(|r| is_same_path || holds_for_all_paths(r.reason));
        let outcome = match (rejection, answer.route_of(&lookup, shared)) {
            (Some(rejection), _) => pending.reject(config, rejection.clone()),
            (None, Some(route)) => pending.route_to(config, &route),
            // Its path has another key. The callback of a failed call starts no call (see `abi`).
            (None, None) => return self.call_later(shared, callout, pending, false),
        };
        self.finish(shared, outcome, shared.gateway.clock());
    }

    /// The next tick makes the request's call.
    fn call_later(
        &self,
        shared: &Shared,
        callout: Callout,
        pending: Box<PendingRequest>,
        repeated: bool,
    ) {
        let Some(handler) = self.handler() else {
            return;
        };
        self.state.set(State::Queued(QueuedRequest {
            callout,
            pending,
            flight: None,
            repeated,
        }));
        shared.engine_cache.call_later(self.id, handler);
        shared.gateway.expedite_tick();
    }

    /// Makes the request's call. The root context is in effect; it may be another one afterwards.
    pub(super) fn call_from_tick(&self, shared: &Shared) {
        let Some((queued, lookup)) = self.take_queued() else {
            return;
        };
        let config = &shared.config;
        let QueuedRequest {
            callout,
            pending,
            flight,
            repeated,
        } = queued;
        if let Some(route) = find(shared, &lookup) {
            if streams::set_effective_context(self.id).is_ok() {
                let outcome = pending.route_to(config, &route);
                self.finish(shared, outcome, shared.gateway.coarse_now());
            }
            return;
        }
        if flight.is_some() && self.wait(shared, &lookup) {
            self.state.set(State::Queued(QueuedRequest {
                callout,
                pending,
                flight,
                repeated,
            }));
            return;
        }
        let called = EngineCall {
            repeated,
            from_root: true,
            ..EngineCall::new(shared, flight)
        };
        if let Err(reply) = self.call(shared, callout, pending, called)
            && streams::set_effective_context(self.id).is_ok()
        {
            self.refuse(Some(shared), &reply);
        }
    }

    fn take_queued(&self) -> Option<(QueuedRequest, EngineLookup)> {
        match self.state.take() {
            State::Queued(queued) => {
                let lookup = queued.pending.lookup().cloned()?;
                Some((queued, lookup))
            }
            other_state => {
                self.state.set(other_state);
                None
            }
        }
    }

    /// The request's client has disconnected: it does not wait any more.
    pub(super) fn leave_queue(&self, shared: &Shared, queued: &QueuedRequest) {
        if let Some(flight) = &queued.flight {
            self.leave_engine_flight(shared, flight);
        }
    }

    pub(super) fn leave_engine_flight(&self, shared: &Shared, flight: &CacheKey) {
        if shared.engine_cache.leave(flight, self.id) {
            shared.gateway.expedite_tick();
        }
    }

    /// The request has been sent to its engine.
    pub(super) fn begin(&self, shared: &Shared, placed: PlacedRequest) {
        shared.gateway.begin_request(self.id, &placed);
        self.state.set(State::AtEngine(placed));
    }

    /// The head of the response has arrived.
    pub(crate) fn on_response_headers(&self, shared: &Shared) -> Action {
        let state = self.state.take();
        let action = match &state {
            State::AtEngine(placed) => self.check_response(shared, placed),
            _ => Action::Continue,
        };
        self.state.set(state);
        action
    }

    fn check_response(&self, shared: &Shared, placed: &PlacedRequest) -> Action {
        let headers = Headers::read_response();
        let head = headers.as_ref().ok().and_then(Headers::iter);
        let Some(pairs) = head else {
            self.reset(shared);
            return Action::Pause;
        };
        let head = ResponseHead::read(pairs, &shared.config.cookie);
        if head.may_be_failure()
            && streams::text_property(RESPONSE_DETAILS).is_ok_and(|text| is_engine_failure(&text))
        {
            shared.gateway.engine_failed(&placed.route);
            shared.metrics.engine_failure(&placed.route.pool);
            self.reply_or_reset(Some(shared), &engine_failed(placed.route_index));
            return Action::Pause;
        }
        match head.set_cookies.as_deref().map(abi::replace_set_cookies) {
            None | Some(Ok(())) => Action::Continue,
            Some(Err(_)) => {
                self.reset(shared);
                Action::Pause
            }
        }
    }
}

/// The cached engine of a request.
fn find(shared: &Shared, lookup: &EngineLookup) -> Option<Rc<EngineRoute>> {
    let now = shared.gateway.upper_bound_now();
    let events_current = shared.gateway.want_events(now);
    shared.engine_cache.find(lookup, now, events_current)
}

impl EngineResponse {
    /// The engine of a request that waited: the cached one, or that of the answer.
    fn route_of(&self, lookup: &EngineLookup, shared: &Shared) -> Option<Rc<EngineRoute>> {
        find(shared, lookup).or_else(|| {
            let route = self.route.as_ref()?;
            let covers = route.covers(&lookup.host, &lookup.path);
            covers.then(|| Rc::clone(route))
        })
    }
}
