//! The stream of calls in Envoy: opens it, sends calls on it, hands the answers to the requests that wait.
//! When it is lost, the root context asks at its next tick in the place of those who waited, each by a request of its own.
//! Decides nothing.

use super::asking::{Answer, callout_answer, labelled_authority, post};
use super::calls::{self, LogLevel, grpc, streams};
use super::root::Shared;
use super::seat::Seat;
use crate::config::Service;
use crate::lane::{self, Heard, Sending, Waits};
use crate::placement::MAX_ANSWER_BYTES;
use berth_api::{CALLS_METHOD, CALLS_SERVICE};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// The status of an answer that did not come in time, as Envoy has it for requests.
const LATE: u16 = 504;
/// From this status on an answer may be Envoy's own: no endpoint, or no answer in time.
const SERVER_ERROR: u16 = 500;
/// Bytes that a reply may have beside the body.
const MAX_FRAME_BYTES: usize = 64;

/// The lane of one configuration in one worker.
pub(super) struct Lane {
    /// The root context: what is sent is sent by it.
    root: u32,
    core: RefCell<lane::Lane<Rc<Seat>>>,
    /// Calls whose stream was lost, by their number, until the next tick makes requests of them.
    lost: RefCell<BTreeMap<u64, Waits<Rc<Seat>>>>,
    /// Who waits for a request of the root context, by its callout.
    saved: RefCell<HashMap<u32, Rc<Seat>>>,
}

impl Lane {
    pub(super) fn new(root: u32, service: &Service, seed: u64) -> Self {
        Self {
            root,
            core: RefCell::new(lane::Lane::new(service.timeout_ms, seed)),
            lost: RefCell::default(),
            saved: RefCell::default(),
        }
    }

    /// Sends a call; gives the body back when it has to go as a request.
    pub(super) fn call(
        &self,
        path: &'static str,
        body: Vec<u8>,
        who: &Rc<Seat>,
        now: u64,
    ) -> Result<u64, Vec<u8>> {
        let Ok(mut core) = self.core.try_borrow_mut() else {
            return Err(body);
        };
        let Sending {
            stream,
            id,
            message,
        } = core
            .call(path, body, Rc::clone(who), now)
            .map_err(|(body, _)| body)?;
        if grpc::send(stream, &message).is_ok() {
            return Ok(id);
        }
        Err(core.unsent(id).map(|waits| waits.body).unwrap_or_default())
    }

    /// A call that went as a request has been answered like this.
    pub(super) fn answered_request(&self, answer: Option<&Answer>) {
        if answer.is_some_and(|answer| answer.status < SERVER_ERROR)
            && let Ok(mut core) = self.core.try_borrow_mut()
        {
            core.answered_request();
        }
    }

    /// Nobody waits for this call any more.
    pub(super) fn cancel(&self, id: u64) {
        if let Ok(mut lost) = self.lost.try_borrow_mut()
            && lost.remove(&id).is_some()
        {
            return;
        }
        if let Ok(mut core) = self.core.try_borrow_mut()
            && let Some(told) = core.cancel(id)
        {
            // An answer that comes all the same finds nobody.
            let _ = grpc::send(told.stream, &told.message);
        }
    }

    /// Opens the stream when it is time to. No call that can fail inside itself comes before this in a tick.
    pub(super) fn open(&self, shared: &Shared, now: u64) {
        let is_due = |core: std::cell::Ref<'_, lane::Lane<_>>| core.is_due(now);
        if !self.core.try_borrow().is_ok_and(is_due) {
            return;
        }
        let service = &shared.config.service;
        let authority = labelled_authority(service, shared.gateway.label());
        let opened = grpc::open(
            &service.cluster,
            &authority,
            CALLS_SERVICE,
            CALLS_METHOD,
            service.authorization.as_deref(),
        );
        if let Ok(mut core) = self.core.try_borrow_mut() {
            core.opening(opened.ok(), now);
        }
    }

    /// Asks by requests for those whose stream was lost, and gives up what has waited for too long.
    pub(super) fn tick(&self, shared: &Shared, now: u64) {
        self.save(shared);
        let Ok(mut core) = self.core.try_borrow_mut() else {
            return;
        };
        let overdue = core.overdue(now);
        drop(core);
        for told in &overdue.cancels {
            let _ = grpc::send(told.stream, &told.message);
        }
        for who in &overdue.waits {
            let late = Answer {
                status: LATE,
                body: Vec::new(),
            };
            self.hand(who, shared, Some(late));
        }
        if let Some(stream) = overdue.cut {
            self.cut(stream, shared);
        }
    }

    /// A message has come.
    pub(super) fn heard(&self, stream: u32, size: usize, shared: &Shared) {
        let now = shared.gateway.coarse_now();
        let sound = size <= MAX_ANSWER_BYTES.saturating_add(MAX_FRAME_BYTES);
        let message = sound.then(|| grpc::message(size).ok()).flatten();
        let heard = match (message, self.core.try_borrow_mut()) {
            (Some(message), Ok(mut core)) => core.heard(stream, &message, now),
            _ => Err(lane::NoReply),
        };
        match heard {
            Ok(Some(Heard { who, status, body })) => {
                let answer = Answer { status, body };
                match who {
                    Some(who) => self.hand(&who, shared, Some(answer)),
                    // Taken back while the answer was on its way.
                    None => shared.gateway.give_back(&answer),
                }
            }
            Ok(None) => {}
            Err(lane::NoReply) => self.cut(stream, shared),
        }
    }

    /// The stream is over.
    pub(super) fn closed(&self, stream: u32, shared: &Shared) {
        // Envoy keeps a stream until both sides have ended it, and when the root context goes it would reset one
        // that has long been freed.
        let _ = grpc::cancel(stream);
        let now = calls::now_ms().unwrap_or_else(|_| shared.gateway.coarse_now());
        let left = match self.core.try_borrow_mut() {
            Ok(mut core) => core.closed(stream, now),
            Err(_) => return,
        };
        if let Some(left) = left {
            shared.metrics.lane_lost();
            if let Ok(mut lost) = self.lost.try_borrow_mut() {
                lost.extend(left);
            }
            shared.gateway.hurry();
        }
    }

    /// A callout of the root context has ended; false when it was not for one who waited on a lost stream.
    pub(super) fn on_reply(&self, callout: u32, size: usize, shared: &Shared) -> bool {
        let who = match self.saved.try_borrow_mut() {
            Ok(mut saved) => saved.remove(&callout),
            Err(_) => None,
        };
        let Some(who) = who else { return false };
        let answer = callout_answer(size);
        self.answered_request(answer.as_ref());
        self.hand(&who, shared, answer);
        true
    }

    fn cut(&self, stream: u32, shared: &Shared) {
        calls::log(
            LogLevel::Warn,
            "berth: the stream of calls is cut off: the service does not greet or answer on it in time, or sends what is no reply",
        );
        self.closed(stream, shared);
    }

    /// Asks by requests for those whose stream was lost.
    fn save(&self, shared: &Shared) {
        let Ok(lost) = self
            .lost
            .try_borrow_mut()
            .map(|mut lost| std::mem::take(&mut *lost))
        else {
            return;
        };
        let service = &shared.config.service;
        for Waits {
            path, body, who, ..
        } in lost.into_values()
        {
            let sent = post(service, who.id(), path, &body, service.timeout_ms).ok();
            match (sent, self.saved.try_borrow_mut()) {
                (Some(callout), Ok(mut saved)) => {
                    saved.insert(callout, who);
                }
                _ => self.hand(&who, shared, None),
            }
        }
    }

    /// Tells a request how its call has ended. In effect is the root context, and so it is afterwards.
    fn hand(&self, who: &Seat, shared: &Shared, answer: Option<Answer>) {
        if streams::set_effective_context(who.id()).is_ok() {
            who.answered(shared, answer);
            let _ = streams::set_effective_context(self.root);
        } else if let Some(answer) = &answer {
            shared.gateway.give_back(answer);
        }
    }
}
