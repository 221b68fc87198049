//! The call of a request: gets a response from the cache, from the call of another request, or by a call of its own,
//! and continues the request with it. Decides nothing.

use super::{RequestHandle, State};
use crate::abi::{self, DispatchError, streams};
use crate::call_stream::Requester;
use crate::metrics::CacheResult;
use crate::service_client::{ServiceResponse, post};
use crate::shared::{EngineResponse, ResponseHandler, Shared};
use crate::token_cache::Waiter;
use crate::waiters;
use berth_filter_core::auth::token_cache::CacheKey;
use berth_filter_core::decision::effects::{CallError, Callout, LocalReply};
use berth_filter_core::decision::pending::PendingRequest;
use proxy_wasm::types::Action;
use std::cell::Cell;
use std::rc::Rc;

/// How a call was sent.
pub(super) enum Transport {
    /// As an HTTP call, with Envoy's id.
    HttpCall(u32),
    /// On the call stream, with our id.
    GrpcStream(u64),
    /// As an HTTP call of the root context.
    Root,
}

/// A call in flight.
pub(super) struct Call {
    pub(super) transport: Transport,
    /// Microseconds since 1970.
    pub(super) since: u64,
    pub(super) pending: Box<PendingRequest>,
    /// What was called for. Without its body, unless the call may have to be repeated.
    pub(super) callout: Callout,
    pub(super) engine: EngineCall,
}

/// What belongs to the call for an engine.
#[derive(Default)]
pub(super) struct EngineCall {
    /// Under which other requests may wait for it.
    pub(super) flight: Option<CacheKey>,
    /// The generation of the cache when it was sent.
    pub(super) generation: u64,
    /// It is the second one, because the answer to the first one was outdated.
    pub(super) repeated: bool,
    /// The root context makes it.
    pub(super) from_root: bool,
}

impl EngineCall {
    /// A call of the request's context.
    pub(super) fn new(shared: &Shared, flight: Option<CacheKey>) -> Self {
        Self {
            flight,
            generation: shared.engine_cache.generation(),
            ..Self::default()
        }
    }
}

impl RequestHandle {
    /// Gets the response from the cache, from a call in flight, or by a call of its own.
    pub(super) fn resolve(
        &self,
        shared: &Shared,
        callout: Callout,
        pending: Box<PendingRequest>,
    ) -> Result<(), LocalReply> {
        if let Some(lookup) = pending.lookup().cloned() {
            return self.resolve_engine(shared, callout, pending, &lookup);
        }
        let Some(key) = callout.shared else {
            return self.call(shared, callout, pending, EngineCall::default());
        };
        let now = shared.gateway.upper_bound_now();
        let events_current = shared.gateway.want_events(now);
        if let Some(token) = shared.token_cache.find(&key, now, events_current) {
            shared.metrics.cache(CacheResult::Hit);
            shared.gateway.active(&token.session_ref);
            let outcome = pending.complete(&shared.config, &Ok(token));
            return self.pass(outcome).map(drop);
        }
        let resumed = Rc::new(Cell::new(false));
        let waiter = Waiter {
            pending,
            resumed: Rc::clone(&resumed),
        };
        match shared.token_cache.wait(&key, self.id, waiter) {
            Ok(()) => {
                shared.metrics.cache(CacheResult::Coalesced);
                self.state.set(State::Waiting(key, resumed));
                Ok(())
            }
            Err(Waiter { pending, .. }) => {
                shared.metrics.cache(CacheResult::Miss);
                self.call(shared, callout, pending, EngineCall::default())
            }
        }
    }

    /// Calls the service.
    pub(super) fn call(
        &self,
        shared: &Shared,
        mut callout: Callout,
        pending: Box<PendingRequest>,
        engine: EngineCall,
    ) -> Result<(), LocalReply> {
        let started_us = abi::now_us().unwrap_or_default();
        let may_repeat = pending.lookup().is_some() && !engine.repeated;
        let may_be_shared = callout.shared.is_some() || may_repeat;
        let body = if may_be_shared {
            callout.body.clone()
        } else {
            std::mem::take(&mut callout.body)
        };
        match self.dispatch(shared, callout.path, body, started_us, engine.from_root) {
            Ok(transport) => {
                if let Some(key) = callout.shared {
                    let body = std::mem::take(&mut callout.body);
                    shared.token_cache.start(key, self.id, body);
                }
                if let Some(flight) = engine.flight {
                    shared.engine_cache.start(flight, self.id);
                }
                self.state.set(State::Calling(Call {
                    transport,
                    since: started_us,
                    pending,
                    callout,
                    engine,
                }));
                Ok(())
            }
            Err(error) => {
                let outcome = pending.on_error(&shared.config, error);
                self.pass(outcome).map(drop)
            }
        }
    }

    /// Sends a call: on the call stream, or by HTTP when there is none.
    fn dispatch(
        &self,
        shared: &Shared,
        path: &'static str,
        body: Vec<u8>,
        started_us: u64,
        from_root: bool,
    ) -> Result<Transport, CallError> {
        let Some(handle) = self.handler() else {
            return Err(CallError::Unreachable);
        };
        let requester = Requester {
            context_id: self.id,
            handle: Rc::clone(&handle),
        };
        let sent = shared
            .call_stream
            .call(path, body, requester, started_us / 1_000);
        let service = &shared.config.service;
        let sent = match sent {
            Ok(id) => {
                shared.gateway.expedite_tick();
                Ok(Transport::GrpcStream(id))
            }
            Err(body) if from_root => {
                let requester = Requester {
                    context_id: self.id,
                    handle,
                };
                let call_stream = &shared.call_stream;
                let called = call_stream.call_over_http(service, path, &body, requester);
                called.map(|()| Transport::Root)
            }
            Err(body) => {
                post(service, self.id, path, &body, service.timeout_ms).map(Transport::HttpCall)
            }
        };
        sent.map_err(|error| match error {
            DispatchError::ClusterMissing => CallError::ClusterMissing,
            DispatchError::Failed => CallError::Unreachable,
        })
    }

    /// Cancels the request's call, unless other requests wait for it.
    pub(super) fn cancel_call(&self, shared: &Shared) {
        match self.state.take() {
            State::Calling(call) => {
                if let Transport::GrpcStream(id) = call.transport {
                    shared.call_stream.cancel(id);
                }
                if let Some(key) = call.callout.shared {
                    self.leave(shared, &key);
                }
                if let Some(flight) = call.engine.flight {
                    self.leave_engine_flight(shared, &flight);
                }
            }
            State::Queued(queued) => self.leave_queue(shared, &queued),
            State::Waiting(key, _) => self.leave(shared, &key),
            other_state => self.state.set(other_state),
        }
    }

    fn leave(&self, shared: &Shared, key: &CacheKey) {
        if shared.token_cache.leave(key, self.id) {
            // The tick repeats the call for the remaining waiters.
            shared.gateway.expedite_tick();
        }
    }
}

impl ResponseHandler for RequestHandle {
    fn on_response(&self, shared: &Shared, response: Option<ServiceResponse>) {
        let call = match self.state.take() {
            State::Calling(call) => call,
            // The client has disconnected.
            other_state => {
                self.state.set(other_state);
                if let Some(response) = &response {
                    shared.gateway.release_placement(response);
                }
                return;
            }
        };
        let now = abi::now_us().unwrap_or(call.since);
        shared.metrics.callout(now.saturating_sub(call.since));
        let now = now / 1_000;
        let config = &shared.config;
        if call.pending.lookup().is_some() {
            return self.on_engine_answer(shared, call, response.as_ref(), now);
        }
        let Some(key) = call.callout.shared else {
            let has_ended = |session_ref: &str| shared.gateway.has_ended(session_ref);
            let outcome = match (&response, shared.keys()) {
                (Some(ServiceResponse { status, body }), Some(keys)) => call
                    .pending
                    .on_response(config, &keys, &has_ended, *status, body),
                _ => call.pending.on_error(config, CallError::Unreachable),
            };
            self.finish(shared, outcome, now);
            if let Some(response) = response.filter(|_| self.action() == Action::Pause) {
                shared.gateway.release_placement(&response);
            }
            return;
        };
        let result = shared.token_result(response);
        self.finish(shared, call.pending.complete(config, &result), now);
        if let Some(flight) = shared.token_cache.complete(&key, self.id)
            && waiters::complete(shared, key, flight, &result)
        {
            let _ = streams::set_effective_context(self.id);
        }
    }

    fn on_shared_engine(&self, shared: &Shared, answer: &EngineResponse) {
        self.on_engine_of_other(shared, answer);
    }

    fn on_call_due(&self, shared: &Shared) {
        self.call_from_tick(shared);
    }
}
