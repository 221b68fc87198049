//! One request in Envoy: hands its headers to the flow and does what the flow says. Whatever fails
//! on the way refuses the request; nothing fails open.

use super::answers::{Joined, refuse, route};
use super::calls::{self, Headers, NotSent, streams};
use super::metrics::Cached;
use super::root::Shared;
use super::tap;
use crate::cache::Key;
use crate::config::Service;
use crate::flow::{self, Verdict, Waiting};
use crate::placement::{MAX_ANSWER_BYTES, Placed};
use crate::presentation::not_ready;
use crate::step::{Callout, Failure, Outcome, Reply, Start, Step};
use crate::streams::{Ending, Tap};
use crate::token::Keys;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::cell::Cell;
use std::rc::Rc;

/// Numbers that Envoy knows of a request.
const RESPONSE_STATUS: &str = "response\0code";
const RESPONSE_SIZE: &str = "response\0size";

/// A callout under way.
struct Call {
    token: u32,
    /// Microseconds since 1970.
    since: u64,
    waiting: Waiting,
    /// The session, when others may wait for the same answer.
    shared: Option<Key>,
}

/// Where a request is on its way.
enum State {
    /// Its headers have not come, or it has been refused: nothing of it may go on.
    Held,
    /// Its callout is under way.
    Waiting(Call),
    /// It waits for the callout of another request of its session. True when it has gone on.
    Joined(Key, Rc<Cell<bool>>),
    /// It has gone on.
    Passed,
    /// It has gone on to its engine, as a stream that is looked after.
    Open(Tap),
}

/// The context of one request.
pub(super) struct Stream {
    id: u32,
    shared: Option<Rc<Shared>>,
    state: State,
}

impl Stream {
    pub(super) const fn new(id: u32, shared: Option<Rc<Shared>>) -> Self {
        Self {
            id,
            shared,
            state: State::Held,
        }
    }

    /// Begins; the reply to give at once, if there is one.
    fn begin(&mut self, shared: &Shared) -> Result<(), Reply> {
        let headers = Headers::of_request().map_err(|_| not_ready("headers"))?;
        #[cfg(feature = "trap")]
        super::trap::spring(&headers);
        let keys = shared.keys().ok_or_else(|| not_ready("keys"))?;
        let pairs = headers.iter().ok_or_else(|| not_ready("headers"))?;
        let Start { action, step } = flow::start(&shared.config, &keys, pairs);
        shared.metrics.request(action);
        match step {
            Step::Reply(reply) => Err(reply),
            Step::Pass(changes) => {
                calls::apply(&changes)?;
                self.state = State::Passed;
                Ok(())
            }
            Step::Call {
                changes,
                callout,
                waiting,
            } => {
                calls::apply(&changes)?;
                self.ask(shared, callout, waiting)
            }
        }
    }

    /// Asks for what is not known yet, once for all who want to know.
    fn ask(&mut self, shared: &Shared, callout: Callout, waiting: Waiting) -> Result<(), Reply> {
        let Some(key) = callout.shared else {
            return self.call(shared, callout, waiting);
        };
        if let Some(grant) = shared.answers.find(&key, &shared.gateway) {
            shared.metrics.cached(Cached::Hit);
            shared.gateway.active(&grant.session_ref);
            return self
                .end(waiting.settle(&shared.config, &Ok(grant)))
                .map(drop);
        }
        let passed = Rc::new(Cell::new(false));
        let joined = Joined {
            waiting,
            passed: Rc::clone(&passed),
        };
        match shared.answers.wait(&key, self.id, joined) {
            Ok(()) => {
                shared.metrics.cached(Cached::Coalesced);
                self.state = State::Joined(key, passed);
                Ok(())
            }
            Err(Joined { waiting, .. }) => {
                shared.metrics.cached(Cached::Miss);
                self.call(shared, callout, waiting)
            }
        }
    }

    fn call(&mut self, shared: &Shared, callout: Callout, waiting: Waiting) -> Result<(), Reply> {
        let service = &shared.config.service;
        let since = calls::now_us().unwrap_or_default();
        let sent = post(service, callout.path, &callout.body, service.timeout_ms);
        let failure = match sent {
            Ok(token) => {
                if let Some(key) = callout.shared {
                    shared.answers.lead(key, self.id, callout.body);
                }
                self.state = State::Waiting(Call {
                    token,
                    since,
                    waiting,
                    shared: callout.shared,
                });
                return Ok(());
            }
            Err(NotSent::ClusterMissing) => Failure::ClusterMissing,
            Err(NotSent::Failed) => Failure::Unreachable,
        };
        self.end(waiting.on_failure(&shared.config, failure))
            .map(drop)
    }

    /// The callout has ended: lets the request go on, or gives the reply.
    fn end(&mut self, outcome: Outcome) -> Result<Option<Placed>, Reply> {
        let placed = route(outcome)?;
        self.state = State::Passed;
        Ok(placed)
    }

    /// Refuses the request. When even that fails, it is cut off; it never goes on.
    fn refuse(&mut self, reply: &Reply) {
        self.state = State::Held;
        if let Some(shared) = &self.shared
            && reply.cause.is_callout_failure()
        {
            shared.metrics.callout_failure();
        }
        refuse(self.shared.as_deref(), reply);
    }

    /// The request's own callout has ended, like this: what becomes of the request.
    fn answered(&mut self, shared: &Shared, call: Call, size: usize) {
        let config = &shared.config;
        let Some(key) = call.shared else {
            let ended = |session_ref: &str| shared.gateway.has_ended(session_ref);
            let outcome = match answer(shared, size) {
                Some((status, body, keys)) => {
                    call.waiting.on_reply(config, &keys, &ended, status, &body)
                }
                None => call.waiting.on_failure(config, Failure::Unreachable),
            };
            return self.conclude(shared, outcome);
        };
        let verdict = verdict(shared, size);
        self.conclude(shared, call.waiting.settle(config, &verdict));
        if shared.answers.landed(&key, self.id, &verdict, shared) {
            let _ = streams::set_effective_context(self.id);
        }
    }

    fn conclude(&mut self, shared: &Shared, outcome: Outcome) {
        let ended = self.end(outcome).and_then(|placed| {
            calls::resume_request().map_err(|_| not_ready("the request does not go on"))?;
            Ok(placed)
        });
        match ended {
            Ok(Some(placed)) => self.open(shared, placed),
            Ok(None) => {}
            Err(reply) => self.refuse(&reply),
        }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let begun = match self.shared.clone() {
            Some(shared) => self.begin(&shared),
            None => Err(not_ready("configuration")),
        };
        if let Err(reply) = begun {
            self.refuse(&reply);
        }
        self.action()
    }

    fn on_http_request_body(&mut self, size: usize, _: bool) -> Action {
        if let State::Open(tap) = &mut self.state
            && let Some(shared) = &self.shared
        {
            tap::pass(self.id, &shared.gateway, tap, size);
        }
        self.action()
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.action()
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, token: u32, _: usize, size: usize, _: usize) {
        let state = std::mem::replace(&mut self.state, State::Held);
        let (State::Waiting(call), Some(shared)) = (state, self.shared.clone()) else {
            return;
        };
        if token != call.token {
            self.state = State::Waiting(call);
            return;
        }
        if let Ok(now) = calls::now_us() {
            shared.metrics.callout(now.saturating_sub(call.since));
        }
        self.answered(&shared, call, size);
    }

    fn on_done(&mut self) -> bool {
        let state = std::mem::replace(&mut self.state, State::Held);
        let Some(shared) = &self.shared else {
            return true;
        };
        match state {
            // The client is gone: a callout that ends later has nothing to route. Others may wait for it.
            State::Waiting(Call {
                shared: Some(key), ..
            })
            | State::Joined(key, _) => {
                if shared.answers.leave(&key, self.id) {
                    shared.gateway.hurry();
                }
            }
            State::Open(tap) => {
                let ending = Ending {
                    status: streams::number_property(RESPONSE_STATUS)
                        .ok()
                        .and_then(|status| u16::try_from(status).ok())
                        .filter(|status| *status != 0),
                    received: tap.received(),
                    sent: streams::number_property(RESPONSE_SIZE).unwrap_or_default(),
                };
                if let Some((pool, reason)) = shared.gateway.close(self.id, ending) {
                    shared.metrics.stream_closed(&pool, reason);
                }
            }
            State::Held | State::Waiting(_) | State::Passed => {}
        }
        true
    }
}

impl Stream {
    /// From here on the stream is looked after.
    fn open(&mut self, shared: &Shared, placed: Placed) {
        let pool = placed.pool.clone();
        if let Some(tap) = shared.gateway.open(self.id, placed) {
            shared.metrics.stream_opened(&pool);
            self.state = State::Open(tap);
        }
    }

    fn action(&self) -> Action {
        match &self.state {
            State::Joined(_, passed) if passed.get() => Action::Continue,
            State::Passed | State::Open(_) => Action::Continue,
            State::Held | State::Waiting(_) | State::Joined(..) => Action::Pause,
        }
    }
}

/// Calls the placement service: a `POST` with a JSON body.
pub(super) fn post(
    service: &Service,
    path: &str,
    body: &[u8],
    timeout_ms: u32,
) -> Result<u32, NotSent> {
    let mut headers = Vec::with_capacity(5);
    headers.push((":method", "POST"));
    headers.push((":path", path));
    headers.push((":authority", service.authority.as_str()));
    headers.push(("content-type", "application/json"));
    if let Some(authorization) = &service.authorization {
        headers.push(("authorization", authorization.as_str()));
    }
    calls::call(&service.cluster, headers, Some(body), timeout_ms)
}

/// What the callout that has ended says of its session.
pub(super) fn verdict(shared: &Shared, size: usize) -> Verdict {
    let ended = |session_ref: &str| shared.gateway.has_ended(session_ref);
    match answer(shared, size) {
        Some((status, body, keys)) => flow::verdict(&keys, &ended, status, &body),
        None => Err(Failure::Unreachable.into()),
    }
}

/// The answer of the callout that has ended, and the keys to verify it with.
fn answer(shared: &Shared, size: usize) -> Option<(u16, Vec<u8>, Rc<Keys>)> {
    let status = calls::callout_status().ok()?;
    let body = read_body(size).ok()?;
    Some((status, body, shared.keys()?))
}

/// The callout's body; one byte more than is allowed is enough to refuse it.
fn read_body(size: usize) -> calls::Result<Vec<u8>> {
    if size == 0 {
        return Ok(Vec::new());
    }
    calls::callout_body(size.min(MAX_ANSWER_BYTES.saturating_add(1)))
}
