//! The state machine of one request: it waits for its own call, or for the call of another request, or is an open
//! stream. The response of a call finds the request here. Any failure on the way refuses the request; nothing fails
//! open.
//!
//! Host calls about the request apply to the context in effect. Envoy puts the request's context into effect before
//! each of its callbacks; for [`RequestHandle::on_response`] the caller does.

mod call;
mod plain;

use crate::abi::{self, Headers, streams};
use crate::service_client::read_response;
use crate::shared::{ResponseHandler, Shared};
use crate::{interceptor, outcome};
use berth_filter_core::auth::token_cache::CacheKey;
use berth_filter_core::decision::effects::LocalReply;
use berth_filter_core::decision::local_reply::not_ready;
use berth_filter_core::decision::pending::engine::PlacedRequest;
use berth_filter_core::decision::pending::{CallOutcome, Target};
use berth_filter_core::decision::{Decision, RoutedDecision, decide};
use berth_filter_core::streams::{EndObservation, FrameInterceptor, PlacedStream, StreamSummary};
use call::{Call, Transport};
use plain::QueuedRequest;
use proxy_wasm::types::Action;
use std::cell::Cell;
use std::rc::{Rc, Weak};

/// Properties of a request in Envoy.
const RESPONSE_STATUS: &str = "response\0code";
const RESPONSE_SIZE: &str = "response\0size";
const RESPONSE_DETAILS: &str = "response\0code_details";

/// The status of the response, if there was one.
fn response_status() -> Option<u16> {
    let status = streams::number_property(RESPONSE_STATUS).ok()?;
    u16::try_from(status).ok().filter(|status| *status != 0)
}

/// The state of a request.
#[derive(Default)]
enum State {
    /// Before its headers, or refused: nothing of it is forwarded.
    #[default]
    Held,
    /// Its call is in flight.
    Calling(Call),
    /// It waits for the call of another request of its session. The flag says that it was resumed.
    Waiting(CacheKey, Rc<Cell<bool>>),
    /// A plain request to an engine that has no call in flight.
    Queued(QueuedRequest),
    /// It was forwarded.
    Passed,
    /// It was forwarded to its engine, as a placed stream.
    Open(FrameInterceptor),
    /// It was forwarded to its engine, as a plain request.
    AtEngine(PlacedRequest),
}

/// One request, shared by its context and its calls.
pub(crate) struct RequestHandle {
    id: u32,
    this: Weak<Self>,
    state: Cell<State>,
    /// The next tick resets it: nothing of it is forwarded.
    resetting: Cell<bool>,
}

impl RequestHandle {
    pub(crate) fn new(id: u32) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            id,
            this: Weak::clone(this),
            state: Cell::default(),
            resetting: Cell::new(false),
        })
    }

    /// What a call keeps to find the request; `None`: its context is gone.
    fn handler(&self) -> Option<Rc<dyn ResponseHandler>> {
        let this: Rc<dyn ResponseHandler> = self.this.upgrade()?;
        Some(this)
    }

    /// The headers have arrived.
    pub(crate) fn on_headers(&self, shared: Option<&Shared>) -> Action {
        let result = match shared {
            Some(shared) => self.start(shared),
            None => Err(not_ready("configuration")),
        };
        if let Err(reply) = result {
            self.refuse(shared, &reply);
        }
        self.action()
    }

    /// A chunk from the client has arrived.
    pub(crate) fn on_chunk(&self, shared: Option<&Shared>, size: usize) -> Action {
        let mut state = self.state.take();
        if let (State::Open(open_stream), Some(shared), false) =
            (&mut state, shared, self.resetting.get())
            && interceptor::on_chunk(self.id, &shared.gateway, open_stream, size).is_err()
        {
            self.reset(shared);
        }
        self.state.set(state);
        self.action()
    }

    /// Trailers have arrived. They are forwarded with the request, so they are stripped at once.
    pub(crate) fn on_trailers(&self, shared: Option<&Shared>) -> Action {
        // Without a configuration the request was refused.
        let result = shared.map(|shared| abi::strip_trailers(&shared.config.strip_headers));
        if let Some(Err(reply)) = result {
            // The state stays: Envoy ends the request, and `on_done` then cancels its call.
            self.reply_or_reset(shared, &reply);
            return Action::Pause;
        }
        self.action()
    }

    /// Whether what the client sends is forwarded.
    fn action(&self) -> Action {
        let state = self.state.take();
        let action = match &state {
            _ if self.resetting.get() => Action::Pause,
            State::Waiting(_, resumed) if resumed.get() => Action::Continue,
            State::Passed | State::Open(_) | State::AtEngine(_) => Action::Continue,
            State::Held | State::Calling(_) | State::Waiting(..) | State::Queued(_) => {
                Action::Pause
            }
        };
        self.state.set(state);
        action
    }

    /// An HTTP call of the request's context has ended.
    pub(crate) fn on_http_response(&self, shared: &Shared, call: u32, size: usize) {
        let state = self.state.take();
        let is_own = matches!(
            &state,
            State::Calling(Call { transport: Transport::HttpCall(own_call), .. }) if *own_call == call
        );
        self.state.set(state);
        if is_own {
            let response = read_response(size);
            shared.call_stream.http_call_answered(response.as_ref());
            self.on_response(shared, response);
        }
    }

    /// The request has ended, or its client has disconnected.
    pub(crate) fn on_done(&self, shared: &Shared) {
        self.cancel_call(shared);
        match self.state.take() {
            State::Open(open_stream) => self.close(shared, &open_stream),
            State::AtEngine(_) => shared.gateway.end_request(self.id),
            _ => {}
        }
    }

    /// The access log is about to be written: a placed stream has ended. Envoy destroys the context afterwards.
    pub(crate) fn on_log(&self, shared: &Shared) {
        let state = self.state.take();
        if matches!(state, State::Open(_)) {
            let details = streams::text_property(RESPONSE_DETAILS).unwrap_or_default();
            let observed = EndObservation {
                status: response_status(),
                details: &details,
            };
            if let Some(mut text) = shared.gateway.end_text(self.id, observed) {
                text.push_str(" gateway=");
                text.push_str(shared.gateway.worker().gateway);
                outcome::log_stream_end(&text);
            }
        }
        self.state.set(state);
    }

    /// The placed stream has ended.
    fn close(&self, shared: &Shared, open_stream: &FrameInterceptor) {
        let summary = StreamSummary {
            status: response_status(),
            received: open_stream.received(),
            sent: streams::number_property(RESPONSE_SIZE).unwrap_or_default(),
        };
        if let Some(reason) = shared.gateway.close(self.id, summary) {
            shared.metrics.stream_closed(reason);
        }
    }

    /// Carries out the first decision.
    ///
    /// # Errors
    /// The reply for the client.
    fn start(&self, shared: &Shared) -> Result<(), LocalReply> {
        let headers = Headers::read_request().map_err(|_| not_ready("headers"))?;
        #[cfg(feature = "trap")]
        crate::trap::trap_if_requested(&headers);
        let keys = shared.keys().ok_or_else(|| not_ready("keys"))?;
        let pairs = headers.iter().ok_or_else(|| not_ready("headers"))?;
        let RoutedDecision { route, decision } =
            decide(&shared.config, &keys, shared.gateway.worker(), pairs);
        shared.metrics.request(route);
        match decision {
            Decision::Reply(reply) => Err(reply),
            Decision::Preflight(headers) => abi::send_local_reply(204, "preflight", &headers, &[])
                .map_err(|_| not_ready("a preflight is not answered")),
            Decision::Pass(mutations) => {
                abi::apply_mutations(&mutations)?;
                self.state.set(State::Passed);
                Ok(())
            }
            Decision::Call {
                mutations,
                callout,
                pending,
            } => {
                abi::apply_mutations(&mutations)?;
                self.resolve(shared, callout, pending)
            }
        }
    }

    /// Applies the outcome of the call, without resuming the request.
    fn pass(&self, outcome: CallOutcome) -> Result<Target, LocalReply> {
        let target = outcome::apply(outcome)?;
        self.state.set(State::Passed);
        Ok(target)
    }

    /// The request was sent there.
    fn settle(&self, shared: &Shared, target: Target, now: u64) {
        match target {
            Target::Application => {}
            Target::Stream(placed) => self.open(shared, placed, now),
            Target::Engine(placed) => self.begin(shared, placed),
        }
    }

    /// Applies the outcome of the call and resumes the request, or refuses it.
    fn finish(&self, shared: &Shared, outcome: CallOutcome, now: u64) {
        let finished = self.pass(outcome).and_then(|target| {
            abi::resume_request().map_err(|_| not_ready("the request is not resumed"))?;
            Ok(target)
        });
        match finished {
            Ok(target) => self.settle(shared, target, now),
            Err(reply) => self.refuse(Some(shared), &reply),
        }
    }

    /// Registers the placed stream.
    fn open(&self, shared: &Shared, placed: PlacedStream, now: u64) {
        let pool = placed.pool.clone();
        if let Some(interceptor) = shared.gateway.open(self.id, placed, now) {
            shared.metrics.stream_opened(&pool);
            self.state.set(State::Open(interceptor));
        }
    }

    /// The next tick resets the request; until then nothing of it is forwarded. Its call is cancelled now: during the
    /// reset no call may fail within itself (see [`abi`]).
    fn reset(&self, shared: &Shared) {
        self.cancel_call(shared);
        self.resetting.set(true);
        shared.gateway.reset_later(self.id);
    }

    /// Refuses the request. When that fails, it is reset; it is never forwarded.
    fn refuse(&self, shared: Option<&Shared>, reply: &LocalReply) {
        self.state.set(State::Held);
        if let Some(shared) = shared
            && reply.reason.is_callout_failure()
        {
            shared.metrics.callout_failure();
        }
        self.reply_or_reset(shared, reply);
    }

    /// Without a configuration no tick could reset the request: it stays paused.
    fn reply_or_reset(&self, shared: Option<&Shared>, reply: &LocalReply) {
        if !outcome::send_reply(shared, reply)
            && let Some(shared) = shared
        {
            self.reset(shared);
        }
    }
}
