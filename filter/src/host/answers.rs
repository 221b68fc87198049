//! What requests share of the placement service's answers in Envoy: the cache of tokens, and the callouts that
//! several wait for. Lets those go on that waited for another's callout, or refuses them; calls for those whose
//! leader is gone. Decides nothing.

use super::asking::{callout_answer, post, verdict};
use super::calls::{self, LogLevel};
use super::gateway::Gateway;
use super::root::Shared;
use crate::cache::{Cache, Grant, Key, Settings};
use crate::flights::{Flights, Landed};
use crate::flow::{Verdict, Waiting};
use crate::gateway::Told;
use crate::placement::Placed;
use crate::presentation::not_ready;
use crate::rejection::{Cause, Level};
use crate::step::{Failure, Outcome, Reply};
use berth_api::{Excerpt, TOKENS_PATH};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What Envoy's filter state has of a request, for the access log: one text, as each costs a call of the host.
const LOGGED: &str = "berth";

/// A request that waits for the callout of another.
pub(super) struct Joined {
    pub(super) waiting: Waiting,
    /// Tells its context that it has gone on.
    pub(super) passed: Rc<Cell<bool>>,
}

/// The answers of one configuration in one worker.
pub(super) struct Answers {
    cache: RefCell<Cache>,
    flights: RefCell<Flights<Joined>>,
}

impl Answers {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            cache: RefCell::new(Cache::new(settings)),
            flights: RefCell::default(),
        }
    }

    /// The session's grant, when it is cached and the feed is fresh. From now on events are wanted.
    pub(super) fn find(&self, key: &Key, gateway: &Gateway) -> Option<Rc<Grant>> {
        let now = gateway.latest();
        let fresh = gateway.want_events(now);
        self.cache.try_borrow_mut().ok()?.find(key, now, fresh)
    }

    /// Waits for the session's callout; gives `joined` back when none is under way.
    pub(super) fn wait(&self, key: &Key, request: u32, joined: Joined) -> Result<(), Joined> {
        match self.flights.try_borrow_mut() {
            Ok(mut flights) => flights.wait(key, request, joined),
            Err(_) => Err(joined),
        }
    }

    /// A request has sent its callout.
    pub(super) fn lead(&self, key: Key, request: u32, body: Vec<u8>) {
        let epoch = self.epoch();
        if let Ok(mut flights) = self.flights.try_borrow_mut() {
            flights.lead(key, request, body, epoch);
        }
    }

    /// A request's client is gone; true when others wait whom nobody calls for.
    pub(super) fn leave(&self, key: &Key, request: u32) -> bool {
        let flights = self.flights.try_borrow_mut();
        flights.is_ok_and(|mut flights| flights.leave(key, request))
    }

    /// A request's callout has ended: for the others, too. True when that put another context into effect.
    pub(super) fn landed(
        &self,
        key: &Key,
        request: u32,
        verdict: &Verdict,
        shared: &Shared,
    ) -> bool {
        let landed = self.flights.try_borrow_mut();
        let landed = landed
            .ok()
            .and_then(|mut flights| flights.landed(key, request));
        let Some(landed) = landed else { return false };
        let others = !landed.waiting.is_empty();
        self.settle(key, landed, verdict, shared);
        others
    }

    /// Calls for those whose leader is gone. In effect is the root context, and so it is afterwards.
    pub(super) fn adopt(&self, root: u32, shared: &Shared) {
        let orphans = match self.flights.try_borrow() {
            Ok(flights) => flights.orphans(),
            Err(_) => return,
        };
        for (label, (key, body)) in orphans.into_iter().enumerate() {
            let service = &shared.config.service;
            let sent = post(service, label, TOKENS_PATH, &body, service.timeout_ms);
            let epoch = self.epoch();
            let Ok(mut flights) = self.flights.try_borrow_mut() else {
                return;
            };
            match sent {
                Ok(callout) => flights.adopt(&key, callout, epoch),
                Err(_) => {
                    let landed = flights.abandon(&key);
                    drop(flights);
                    let verdict = Err(Failure::Unreachable.into());
                    if let Some(landed) = landed {
                        self.settle(&key, landed, &verdict, shared);
                    }
                    let _ = calls::streams::set_effective_context(root);
                }
            }
        }
    }

    /// A callout of the root context has ended; false when it was for none of these.
    pub(super) fn adopted_landed(&self, callout: u32, size: usize, shared: &Shared) -> bool {
        let landed = self.flights.try_borrow_mut();
        let landed = landed
            .ok()
            .and_then(|mut flights| flights.adopted_landed(callout));
        let Some((key, landed)) = landed else {
            return false;
        };
        let verdict = verdict(shared, callout_answer(size));
        if verdict
            .as_ref()
            .is_err_and(|r| r.cause.is_callout_failure())
        {
            shared.metrics.callout_failure();
        }
        self.settle(&key, landed, &verdict, shared);
        true
    }

    /// What the feed has brought.
    pub(super) fn told(&self, told: &Told) {
        if let Ok(mut cache) = self.cache.try_borrow_mut() {
            if told.lost {
                cache.clear();
            }
            cache.forget(&told.ended);
        }
    }

    /// The keys have changed: a token of a key that is gone must not be used.
    pub(super) fn clear(&self) {
        if let Ok(mut cache) = self.cache.try_borrow_mut() {
            cache.clear();
        }
    }

    fn epoch(&self) -> u64 {
        self.cache.try_borrow().map_or(0, |cache| cache.epoch())
    }

    fn settle(&self, key: &Key, landed: Landed<Joined>, verdict: &Verdict, shared: &Shared) {
        if let Ok(grant) = verdict
            && let (Ok(now), Ok(mut cache)) = (calls::now_ms(), self.cache.try_borrow_mut())
        {
            cache.insert(*key, grant, landed.epoch, now);
        }
        for (request, Joined { waiting, passed }) in landed.waiting {
            if calls::streams::set_effective_context(request).is_err() {
                continue;
            }
            let ended = route(waiting.settle(&shared.config, verdict)).and_then(|_| {
                calls::resume_request().map_err(|_| not_ready("the request does not go on"))
            });
            match ended {
                Ok(()) => passed.set(true),
                // It waits, as nobody has told it to go on.
                Err(reply) => {
                    if !refuse(Some(shared), &reply) {
                        shared.gateway.reset_later(request);
                    }
                }
            }
        }
    }
}

/// Makes the request in effect ready to go on, or gives the reply.
pub(super) fn route(outcome: Outcome) -> Result<Option<Placed>, Reply> {
    match outcome {
        Outcome::Reply(reply) => Err(reply),
        Outcome::Route {
            changes,
            session_ref,
            placed,
        } => {
            calls::apply(&changes)?;
            // Only the access log would miss them.
            if let Some(session_ref) = session_ref {
                let _ = calls::set_property(LOGGED, &logged(&session_ref, placed.as_ref()));
            }
            Ok(placed)
        }
    }
}

/// `session=... pool=... engine=... placement=...`
fn logged(session_ref: &str, placed: Option<&Placed>) -> String {
    let mut text = format!("session={session_ref}");
    if let Some(placed) = placed {
        for (name, value) in [
            (" pool=", &placed.pool),
            (" engine=", &placed.engine),
            (" placement=", &placed.reason),
        ] {
            text.push_str(name);
            text.push_str(value);
        }
    }
    text
}

/// Refuses the request in effect; false when it cannot be answered, and has to be reset.
#[must_use]
pub(super) fn refuse(shared: Option<&Shared>, reply: &Reply) -> bool {
    if let Some(shared) = shared {
        shared.metrics.rejection(reply.cause, reply.route);
        if matches!(reply.cause, Cause::TokenInvalid | Cause::BearerInvalid) {
            shared.wants_keys.set(true);
        }
    }
    log(reply);
    let details = reply.cause.reason();
    calls::reply(reply.status, details, &reply.headers, &reply.body).is_ok()
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
            let detail = Excerpt(detail).to_string();
            format!("berth: refused, reason={reason} status={status} detail={detail:?}")
        }
    };
    calls::log(level, &text);
}
