//! One request in Envoy: hands its headers to the flow and does what the flow says. Whatever fails
//! on the way refuses the request; nothing fails open.

use super::calls::{self, Headers, LogLevel, NotSent, streams};
use super::root::Shared;
use super::tap;
use crate::config::Service;
use crate::flow::{self, Waiting};
use crate::placement::{MAX_ANSWER_BYTES, Placed};
use crate::presentation::not_ready;
use crate::rejection::{Cause, Level};
use crate::step::{Callout, Change, Failure, Outcome, Reply, Start, Step};
use crate::streams::{Ending, Tap};
use base64::Engine;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::rc::Rc;

/// What Envoy's filter state has of a request, for the access log.
const SESSION_REF: &str = "session_ref";
const POOL: &str = "pool";
const ENGINE: &str = "engine";
const PLACEMENT: &str = "placement";

/// Numbers that Envoy knows of a request.
const RESPONSE_STATUS: &str = "response\0code";
const RESPONSE_SIZE: &str = "response\0size";

/// Where a request is on its way.
enum State {
    /// Its headers have not come, or it has been refused: nothing of it may go on.
    Held,
    /// Its callout is under way.
    Waiting(u32, Waiting),
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
                apply(&changes)?;
                self.state = State::Passed;
                Ok(())
            }
            Step::Call {
                changes,
                callout,
                waiting,
            } => {
                apply(&changes)?;
                self.call(shared, &callout, waiting)
            }
        }
    }

    fn call(&mut self, shared: &Shared, callout: &Callout, waiting: Waiting) -> Result<(), Reply> {
        let service = &shared.config.service;
        let sent = post(service, callout.path, &callout.body, service.timeout_ms);
        let failure = match sent {
            Ok(token) => {
                self.state = State::Waiting(token, waiting);
                return Ok(());
            }
            Err(NotSent::ClusterMissing) => Failure::ClusterMissing,
            Err(NotSent::Failed) => Failure::Unreachable,
        };
        self.end(waiting.on_failure(&shared.config, failure))
            .map(|_| ())
    }

    /// The callout has ended: lets the request go on, or gives the reply.
    fn end(&mut self, outcome: Outcome) -> Result<Option<Placed>, Reply> {
        match outcome {
            Outcome::Reply(reply) => Err(reply),
            Outcome::Route {
                changes,
                session_ref,
                placed,
            } => {
                apply(&changes)?;
                // Only the access log would miss them.
                if let Some(session_ref) = session_ref {
                    let _ = calls::set_property(SESSION_REF, &session_ref);
                }
                if let Some(placed) = &placed {
                    let _ = calls::set_property(POOL, &placed.pool);
                    let _ = calls::set_property(ENGINE, &placed.engine);
                    let _ = calls::set_property(PLACEMENT, &placed.reason);
                }
                self.state = State::Passed;
                Ok(placed)
            }
        }
    }

    /// Refuses the request. When even that fails, it is cut off; it never goes on.
    fn refuse(&mut self, reply: &Reply) {
        self.state = State::Held;
        if let Some(shared) = &self.shared {
            shared.metrics.rejection(reply.cause);
            if matches!(reply.cause, Cause::TokenInvalid | Cause::BearerInvalid) {
                shared.wants_keys.set(true);
            }
            if is_callout_failure(reply.cause) {
                shared.metrics.callout_failure();
            }
        }
        log(reply);
        let details = reply.cause.reason();
        if calls::reply(reply.status, details, &reply.headers, &reply.body).is_err() {
            let _ = calls::reset_request();
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
        let State::Waiting(expected, waiting) = std::mem::replace(&mut self.state, State::Held)
        else {
            return;
        };
        let Some(shared) = self.shared.clone() else {
            return;
        };
        if token != expected {
            self.state = State::Waiting(expected, waiting);
            return;
        }
        let outcome = match (calls::callout_status(), read_body(size), shared.keys()) {
            (Ok(status), Ok(body), Some(keys)) => {
                let ended = |session_ref: &str| shared.gateway.has_ended(session_ref);
                waiting.on_reply(&shared.config, &keys, &ended, status, &body)
            }
            _ => waiting.on_failure(&shared.config, Failure::Unreachable),
        };
        let ended = self.end(outcome).and_then(|placed| {
            calls::resume_request().map_err(|_| not_ready("the request does not go on"))?;
            Ok(placed)
        });
        match ended {
            Ok(Some(placed)) => self.open(&shared, placed),
            Ok(None) => {}
            Err(reply) => self.refuse(&reply),
        }
    }

    fn on_done(&mut self) -> bool {
        // The client is gone: a callout that ends later has nothing to route.
        let state = std::mem::replace(&mut self.state, State::Held);
        if let (State::Open(tap), Some(shared)) = (state, &self.shared) {
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

    const fn action(&self) -> Action {
        match self.state {
            State::Passed | State::Open(_) => Action::Continue,
            State::Held | State::Waiting(..) => Action::Pause,
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

/// The callout's body; one byte more than is allowed is enough to refuse it.
fn read_body(size: usize) -> calls::Result<Vec<u8>> {
    if size == 0 {
        return Ok(Vec::new());
    }
    calls::callout_body(size.min(MAX_ANSWER_BYTES.saturating_add(1)))
}

fn apply(changes: &[Change]) -> Result<(), Reply> {
    for change in changes {
        match change {
            Change::Remove(name) => calls::remove_header(name),
            Change::Set(name, value) => calls::set_header(name, value),
            Change::Add(name, value) => calls::add_header(name, value),
            Change::Nonce(name) => {
                calls::random().and_then(|bits| calls::set_header(name, nonce(bits).as_bytes()))
            }
        }
        .map_err(|_| not_ready("a header cannot be changed"))?;
    }
    Ok(())
}

/// 16 bytes in base64.
fn nonce(bits: u128) -> String {
    base64::engine::general_purpose::STANDARD.encode(bits.to_le_bytes())
}

const fn is_callout_failure(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::ServiceUnreachable
            | Cause::ServiceTimeout
            | Cause::ServiceClusterMissing
            | Cause::ServiceAnswerInvalid
    )
}

fn log(reply: &Reply) {
    let level = match reply.cause.level() {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    };
    let reason = reply.cause.reason();
    let status = reply.status;
    let text = match &reply.detail {
        None => format!("berth: refused, reason={reason} status={status}"),
        Some(detail) => {
            format!("berth: refused, reason={reason} status={status} detail={detail:?}")
        }
    };
    calls::log(level, &text);
}
