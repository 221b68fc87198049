//! The call of a request: gets a response from the cache, from the call of another request, or by a call of its own,
//! and continues the request with it. Decides nothing.

use super::{RequestHandle, State};
use crate::abi::{self, DispatchError, streams};
use crate::call_stream::Requester;
use crate::metrics::CacheResult;
use crate::service_client::{ServiceResponse, post};
use crate::shared::{ResponseHandler, Shared};
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
}

/// A call in flight.
pub(super) struct Call {
    pub(super) transport: Transport,
    /// Microseconds since 1970.
    since: u64,
    pending: PendingRequest,
    /// The session in the cache, when other requests may wait for the same response.
    shared: Option<CacheKey>,
}

impl RequestHandle {
    /// Gets the response from the cache, from a call in flight, or by a call of its own.
    pub(super) fn resolve(
        self: &Rc<Self>,
        shared: &Shared,
        callout: Callout,
        pending: PendingRequest,
    ) -> Result<(), LocalReply> {
        let Some(key) = callout.shared else {
            return self.call(shared, callout, pending);
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
                self.call(shared, callout, pending)
            }
        }
    }

    /// Calls the service: on the call stream, or by HTTP when there is none.
    fn call(
        self: &Rc<Self>,
        shared: &Shared,
        callout: Callout,
        pending: PendingRequest,
    ) -> Result<(), LocalReply> {
        let Callout {
            path,
            body,
            shared: key,
        } = callout;
        let started_us = abi::now_us().unwrap_or_default();
        let flight = key.map(|key| (key, body.clone()));
        let handler: Rc<dyn ResponseHandler> = self.clone();
        let requester = Requester {
            context_id: self.id,
            handle: handler,
        };
        let transport = match shared
            .call_stream
            .call(path, body, requester, started_us / 1_000)
        {
            Ok(id) => {
                shared.gateway.expedite_tick();
                Ok(Transport::GrpcStream(id))
            }
            Err(body) => {
                let service = &shared.config.service;
                post(service, self.id, path, &body, service.timeout_ms).map(Transport::HttpCall)
            }
        };
        let error = match transport {
            Ok(transport) => {
                if let Some((key, body)) = flight {
                    shared.token_cache.start(key, self.id, body);
                }
                self.state.set(State::Calling(Call {
                    transport,
                    since: started_us,
                    pending,
                    shared: key,
                }));
                return Ok(());
            }
            Err(DispatchError::ClusterMissing) => CallError::ClusterMissing,
            Err(DispatchError::Failed) => CallError::Unreachable,
        };
        let outcome = pending.on_error(&shared.config, error);
        self.pass(outcome).map(drop)
    }

    /// Cancels the request's call, unless other requests wait for it.
    pub(super) fn cancel_call(&self, shared: &Shared) {
        match self.state.take() {
            State::Calling(call) => {
                if let Transport::GrpcStream(id) = call.transport {
                    shared.call_stream.cancel(id);
                }
                if let Some(key) = call.shared {
                    self.leave(shared, &key);
                }
            }
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
        let Some(key) = call.shared else {
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
}
