//! Where one request waits: for its own call of the placement service, for that of another, or for its end as
//! an open stream. Whoever has the answer finds the request here. Whatever fails on the way refuses the
//! request; nothing fails open.

use super::answers::{Joined, refuse, route};
use super::asking::{Answer, callout_answer, post, verdict};
use super::calls::{self, Headers, NotSent, streams};
use super::metrics::Cached;
use super::root::Shared;
use super::tap;
use crate::cache::Key;
use crate::flow::{self, Waiting};
use crate::placement::Placed;
use crate::presentation::not_ready;
use crate::step::{Callout, Failure, Outcome, Reply, Start, Step};
use crate::streams::{Ending, Tap};
use proxy_wasm::types::Action;
use std::cell::Cell;
use std::rc::Rc;

/// Numbers that Envoy knows of a request.
const RESPONSE_STATUS: &str = "response\0code";
const RESPONSE_SIZE: &str = "response\0size";

/// How a call went out.
enum Way {
    /// As a request, with this number of Envoy's.
    Callout(u32),
    /// On the stream of calls, with this number of ours.
    Lane(u64),
}

/// A call under way.
struct Call {
    way: Way,
    /// Microseconds since 1970.
    since: u64,
    waiting: Waiting,
    /// The session, when others may wait for the same answer.
    shared: Option<Key>,
}

/// Where a request is on its way.
#[derive(Default)]
enum State {
    /// Its headers have not come, or it has been refused: nothing of it may go on.
    #[default]
    Held,
    /// Its call is under way.
    Waiting(Call),
    /// It waits for the call of another request of its session. True when it has gone on.
    Joined(Key, Rc<Cell<bool>>),
    /// It has gone on.
    Passed,
    /// It has gone on to its engine, as a stream that is looked after.
    Open(Tap),
}

/// The seat of one request.
pub(super) struct Seat {
    id: u32,
    state: Cell<State>,
    /// The next tick resets it: nothing of it goes on.
    resets: Cell<bool>,
}

impl Seat {
    pub(super) fn new(id: u32) -> Rc<Self> {
        Rc::new(Self {
            id,
            state: Cell::default(),
            resets: Cell::new(false),
        })
    }

    /// The request's context.
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// The headers have come.
    pub(super) fn headers(self: &Rc<Self>, shared: Option<&Shared>) -> Action {
        let begun = match shared {
            Some(shared) => self.begin(shared),
            None => Err(not_ready("configuration")),
        };
        if let Err(reply) = begun {
            self.refuse(shared, &reply);
        }
        self.action()
    }

    /// The client has sent something.
    pub(super) fn chunk(&self, shared: Option<&Shared>, size: usize) -> Action {
        let mut state = self.state.take();
        if let (State::Open(tap), Some(shared), false) = (&mut state, shared, self.resets.get())
            && tap::pass(self.id, &shared.gateway, tap, size).is_err()
        {
            self.reset(shared);
        }
        self.state.set(state);
        self.action()
    }

    /// The client has ended with trailers. They go on whenever the request does, so they are cleaned at once.
    pub(super) fn trailers(&self, shared: Option<&Shared>) -> Action {
        // Without a configuration it has been refused.
        let cleaned = shared.map(|shared| calls::clean_trailers(&shared.config.trust_headers));
        if let Some(Err(reply)) = cleaned {
            // The seat stays as it is: Envoy ends the request, and `done` sees to whoever waits for its call.
            self.reply_or_reset(shared, &reply);
            return Action::Pause;
        }
        self.action()
    }

    /// What becomes of what the client sends.
    pub(super) fn action(&self) -> Action {
        let state = self.state.take();
        let action = match &state {
            _ if self.resets.get() => Action::Pause,
            State::Joined(_, passed) if passed.get() => Action::Continue,
            State::Passed | State::Open(_) => Action::Continue,
            State::Held | State::Waiting(_) | State::Joined(..) => Action::Pause,
        };
        self.state.set(state);
        action
    }

    /// A callout of the request's context has ended.
    pub(super) fn callout_ended(&self, shared: &Shared, token: u32, size: usize) {
        let state = self.state.take();
        let own =
            matches!(&state, State::Waiting(Call { way: Way::Callout(own), .. }) if *own == token);
        self.state.set(state);
        if own {
            let answer = callout_answer(size);
            shared.lane.answered_request(answer.as_ref());
            self.answered(shared, answer);
        }
    }

    /// The request's own call has ended, like this. In effect is the request's context.
    pub(super) fn answered(&self, shared: &Shared, answer: Option<Answer>) {
        let call = match self.state.take() {
            State::Waiting(call) => call,
            // Its client is gone.
            other => {
                self.state.set(other);
                if let Some(answer) = &answer {
                    shared.gateway.give_back(answer);
                }
                return;
            }
        };
        let now = calls::now_us().unwrap_or(call.since);
        shared.metrics.callout(now.saturating_sub(call.since));
        let now = now / 1_000;
        let config = &shared.config;
        let Some(key) = call.shared else {
            let ended = |session_ref: &str| shared.gateway.has_ended(session_ref);
            let outcome = match (&answer, shared.keys()) {
                (Some(Answer { status, body }), Some(keys)) => {
                    call.waiting.on_reply(config, &keys, &ended, *status, body)
                }
                _ => call.waiting.on_failure(config, Failure::Unreachable),
            };
            self.conclude(shared, outcome, now);
            if let Some(answer) = answer.filter(|_| self.action() == Action::Pause) {
                shared.gateway.give_back(&answer);
            }
            return;
        };
        let verdict = verdict(shared, answer);
        self.conclude(shared, call.waiting.settle(config, &verdict), now);
        if shared.answers.landed(&key, self.id, &verdict, shared) {
            let _ = streams::set_effective_context(self.id);
        }
    }

    /// The request is over, or its client is gone.
    pub(super) fn done(&self, shared: &Shared) {
        self.take_back_call(shared);
        if let State::Open(tap) = self.state.take() {
            let ending = Ending {
                status: streams::number_property(RESPONSE_STATUS)
                    .ok()
                    .and_then(|status| u16::try_from(status).ok())
                    .filter(|status| *status != 0),
                received: tap.received(),
                sent: streams::number_property(RESPONSE_SIZE).unwrap_or_default(),
            };
            if let Some(reason) = shared.gateway.close(self.id, ending) {
                shared.metrics.stream_closed(reason);
            }
        }
    }

    /// Nobody waits for its call any more: an answer that comes later has nothing to route. Others may wait for it.
    fn take_back_call(&self, shared: &Shared) {
        match self.state.take() {
            State::Waiting(call) => {
                if let Way::Lane(id) = call.way {
                    shared.lane.cancel(id);
                }
                if let Some(key) = call.shared {
                    self.leave(shared, &key);
                }
            }
            State::Joined(key, _) => self.leave(shared, &key),
            other => self.state.set(other),
        }
    }

    fn leave(&self, shared: &Shared, key: &Key) {
        if shared.answers.leave(key, self.id) {
            shared.gateway.hurry();
        }
    }

    /// Begins; the reply to give at once, if there is one.
    fn begin(self: &Rc<Self>, shared: &Shared) -> Result<(), Reply> {
        let headers = Headers::of_request().map_err(|_| not_ready("headers"))?;
        #[cfg(feature = "trap")]
        super::trap::spring(&headers);
        let keys = shared.keys().ok_or_else(|| not_ready("keys"))?;
        let pairs = headers.iter().ok_or_else(|| not_ready("headers"))?;
        let Start { route, step } = flow::start(&shared.config, &keys, pairs);
        shared.metrics.request(route);
        match step {
            Step::Reply(reply) => Err(reply),
            Step::Pass(changes) => {
                calls::apply(&changes)?;
                self.state.set(State::Passed);
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
    fn ask(
        self: &Rc<Self>,
        shared: &Shared,
        callout: Callout,
        waiting: Waiting,
    ) -> Result<(), Reply> {
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
                self.state.set(State::Joined(key, passed));
                Ok(())
            }
            Err(Joined { waiting, .. }) => {
                shared.metrics.cached(Cached::Miss);
                self.call(shared, callout, waiting)
            }
        }
    }

    /// Calls the service: on the stream of calls, or, where there is none, by a request.
    fn call(
        self: &Rc<Self>,
        shared: &Shared,
        callout: Callout,
        waiting: Waiting,
    ) -> Result<(), Reply> {
        let Callout {
            path,
            body,
            shared: key,
        } = callout;
        let since = calls::now_us().unwrap_or_default();
        let kept = key.map(|key| (key, body.clone()));
        let sent = match shared.lane.call(path, body, self, since / 1_000) {
            Ok(id) => {
                shared.gateway.hurry();
                Ok(Way::Lane(id))
            }
            Err(body) => {
                let service = &shared.config.service;
                post(service, self.id, path, &body, service.timeout_ms).map(Way::Callout)
            }
        };
        let failure = match sent {
            Ok(way) => {
                if let Some((key, body)) = kept {
                    shared.answers.lead(key, self.id, body);
                }
                self.state.set(State::Waiting(Call {
                    way,
                    since,
                    waiting,
                    shared: key,
                }));
                return Ok(());
            }
            Err(NotSent::ClusterMissing) => Failure::ClusterMissing,
            Err(NotSent::Failed) => Failure::Unreachable,
        };
        self.end(waiting.on_failure(&shared.config, failure))
            .map(drop)
    }

    /// The call has ended: lets the request go on, or gives the reply.
    fn end(&self, outcome: Outcome) -> Result<Option<Placed>, Reply> {
        let placed = route(outcome)?;
        self.state.set(State::Passed);
        Ok(placed)
    }

    fn conclude(&self, shared: &Shared, outcome: Outcome, now: u64) {
        let ended = self.end(outcome).and_then(|placed| {
            calls::resume_request().map_err(|_| not_ready("the request does not go on"))?;
            Ok(placed)
        });
        match ended {
            Ok(Some(placed)) => self.open(shared, placed, now),
            Ok(None) => {}
            Err(reply) => self.refuse(Some(shared), &reply),
        }
    }

    /// From here on the stream is looked after.
    fn open(&self, shared: &Shared, placed: Placed, now: u64) {
        let pool = placed.pool.clone();
        if let Some(tap) = shared.gateway.open(self.id, placed, now) {
            shared.metrics.stream_opened(&pool);
            self.state.set(State::Open(tap));
        }
    }

    /// The request ends with the next tick, and nothing of it goes on until then. Its call is taken back now: the reset
    /// must call nothing that can fail inside itself.
    fn reset(&self, shared: &Shared) {
        self.take_back_call(shared);
        self.resets.set(true);
        shared.gateway.reset_later(self.id);
    }

    /// Refuses the request. When even that fails, it is reset; it never goes on.
    fn refuse(&self, shared: Option<&Shared>, reply: &Reply) {
        self.state.set(State::Held);
        if let Some(shared) = shared
            && reply.cause.is_callout_failure()
        {
            shared.metrics.callout_failure();
        }
        self.reply_or_reset(shared, reply);
    }

    /// Without a configuration there is no tick that could reset it: it waits, and goes on nowhere.
    fn reply_or_reset(&self, shared: Option<&Shared>, reply: &Reply) {
        if !refuse(shared, reply)
            && let Some(shared) = shared
        {
            self.reset(shared);
        }
    }
}
