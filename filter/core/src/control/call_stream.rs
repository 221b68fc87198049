//! The call stream of one worker (see `berth_api::Call`): when to open it, which calls are pending on it, and which of
//! them have timed out. The service greets with the first message; from then on calls go on the stream. Before the
//! greeting, and after the stream is lost, calls go as HTTP requests. Knows no host; `W` is what the host keeps for the
//! requester of a call. Times are milliseconds of any clock.

use crate::retry::RetrySchedule;
use berth_api::{Call, MAX_CALLS, Reply};
use prost::Message;
use std::collections::HashMap;
use std::fmt;

/// Maximum milliseconds between two attempts to open the stream.
const MAX_BACK_OFF_MS: u64 = 30_000;

/// The state of the stream; `stream` is its id in the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// The service has not greeted yet.
    Opening {
        stream: u32,
        since: u64,
    },
    Open {
        stream: u32,
        /// The time of the last message.
        last_message: u64,
        /// Whether a call was answered on it.
        useful: bool,
    },
}

/// A call that waits for its reply.
pub struct PendingCall<W> {
    /// The path at the service.
    pub path: &'static str,
    /// The JSON. Contains a secret.
    pub body: Vec<u8>,
    /// Who gets the reply.
    pub requester: W,
    deadline: u64,
}

/// A message to send.
#[derive(PartialEq, Eq)]
pub struct OutboundMessage {
    /// The stream's id in the host.
    pub stream: u32,
    /// The id of the call.
    pub id: u64,
    /// The message. Contains a secret.
    pub message: Vec<u8>,
}

impl fmt::Debug for OutboundMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stream,
            id,
            message,
        } = self;
        write!(f, "call {id} on stream {stream}, {} bytes", message.len())
    }
}

/// A reply of the service.
#[derive(PartialEq, Eq)]
pub struct IncomingReply<W> {
    /// Who gets it; `None` when the call was cancelled or has timed out.
    pub requester: Option<W>,
    /// The status.
    pub status: u16,
    /// The body. Contains a token.
    pub body: Vec<u8>,
}

impl<W: fmt::Debug> fmt::Debug for IncomingReply<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requester,
            status,
            body,
        } = self;
        write!(f, "reply to {requester:?}: {status}, {} bytes", body.len())
    }
}

/// A message that is not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedReply;

/// What has timed out.
pub struct TimedOut<W> {
    /// Who waited for the calls.
    pub requesters: Vec<W>,
    /// Messages that cancel these calls at the service.
    pub cancels: Vec<OutboundMessage>,
    /// The stream to reset: the service has sent no message for the timeout of a call.
    pub reset: Option<u32>,
}

/// The call stream.
pub struct CallStream<W> {
    timeout_ms: u64,
    schedule: RetrySchedule,
    state: State,
    /// The service has answered an HTTP call, so a stream is worth opening.
    wanted: bool,
    last_id: u64,
    pending: HashMap<u64, PendingCall<W>>,
    /// No deadline is earlier.
    earliest: u64,
    /// The time of the last [`Self::expire`].
    last_expiry: u64,
}

impl<W> CallStream<W> {
    /// A stream whose calls, and whose greeting, may take `timeout_ms`. `seed`: see [`RetrySchedule::with_jitter`].
    #[must_use]
    pub fn new(timeout_ms: u32, seed: u64) -> Self {
        Self {
            timeout_ms: timeout_ms.into(),
            schedule: RetrySchedule::new(0, MAX_BACK_OFF_MS, u64::MAX).with_jitter(seed),
            state: State::Closed,
            wanted: false,
            last_id: 0,
            pending: HashMap::new(),
            earliest: u64::MAX,
            last_expiry: 0,
        }
    }

    /// The service has answered an HTTP call: a stream could have carried it, so it is worth opening.
    pub fn http_call_answered(&mut self) {
        if self.state == State::Closed {
            self.wanted = true;
        }
    }

    /// Whether to open a stream now.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.wanted && self.state == State::Closed && self.schedule.is_due(now)
    }

    /// A stream is opening; `None` when the host refused to open one.
    pub fn opening(&mut self, stream: Option<u32>, now: u64) {
        self.schedule.started(now);
        match stream {
            Some(stream) => self.state = State::Opening { stream, since: now },
            None => {
                self.schedule.failed(now);
                self.wanted = false;
            }
        }
    }

    /// Adds a call; returns the message to send.
    ///
    /// # Errors
    /// Returns the body and `requester` when the call has to go as an HTTP request.
    pub fn call(
        &mut self,
        path: &'static str,
        body: Vec<u8>,
        requester: W,
        now: u64,
    ) -> Result<OutboundMessage, (Vec<u8>, W)> {
        let State::Open { stream, .. } = self.state else {
            return Err((body, requester));
        };
        if self.pending.len() >= MAX_CALLS {
            return Err((body, requester));
        }
        self.last_id = self.last_id.wrapping_add(1);
        let call = Call {
            id: self.last_id,
            path: path.to_owned(),
            body,
        };
        let message = call.encode_to_vec();
        let deadline = now.saturating_add(self.timeout_ms);
        self.earliest = self.earliest.min(deadline);
        let pending = PendingCall {
            path,
            body: call.body,
            requester,
            deadline,
        };
        self.pending.insert(call.id, pending);
        Ok(OutboundMessage {
            stream,
            id: call.id,
            message,
        })
    }

    /// Cancels a call; returns the message for the service.
    pub fn cancel(&mut self, id: u64) -> Option<OutboundMessage> {
        self.pending.remove(&id)?;
        let State::Open { stream, .. } = self.state else {
            return None;
        };
        Some(cancel_message(stream, id))
    }

    /// Removes a call that could not be sent.
    pub fn take_unsent(&mut self, id: u64) -> Option<PendingCall<W>> {
        self.pending.remove(&id)
    }

    /// A message has arrived: the greeting, which answers no call, or a reply. `None` when it is of an earlier stream.
    ///
    /// # Errors
    /// When it is not a reply: the stream must be reset.
    pub fn on_message(
        &mut self,
        stream: u32,
        message: &[u8],
        now: u64,
    ) -> Result<Option<IncomingReply<W>>, MalformedReply> {
        let was_useful = match self.state {
            State::Opening {
                stream: current, ..
            } if current == stream => false,
            State::Open {
                stream: current,
                useful: was_useful,
                ..
            } if current == stream => was_useful,
            _ => return Ok(None),
        };
        let Reply { id, status, body } = Reply::decode(message).map_err(|_| MalformedReply)?;
        let status = u16::try_from(status).map_err(|_| MalformedReply)?;
        let requester = self.pending.remove(&id).map(|call| call.requester);
        self.state = State::Open {
            stream,
            last_message: now,
            useful: was_useful || requester.is_some(),
        };
        Ok(Some(IncomingReply {
            requester,
            status,
            body,
        }))
    }

    /// Removes the calls that have timed out.
    pub fn expire(&mut self, now: u64) -> TimedOut<W> {
        let mut timed_out = TimedOut {
            requesters: Vec::new(),
            cancels: Vec::new(),
            reset: None,
        };
        if now < self.last_expiry {
            self.clock_moved_back(self.last_expiry.saturating_sub(now));
        }
        self.last_expiry = now;
        if let State::Opening { stream, since } = self.state
            && since.saturating_add(self.timeout_ms) <= now
        {
            timed_out.reset = Some(stream);
        }
        if now < self.earliest {
            return timed_out;
        }
        let expired = self.pending.extract_if(|_, call| call.deadline <= now);
        let expired = expired.map(|(id, call)| (id, call.requester));
        let (ids, requesters): (Vec<_>, Vec<_>) = expired.unzip();
        timed_out.requesters = requesters;
        let deadlines = self.pending.values().map(|call| call.deadline);
        self.earliest = deadlines.min().unwrap_or(u64::MAX);
        let State::Open {
            stream,
            last_message,
            ..
        } = self.state
        else {
            return timed_out;
        };
        let is_silent = last_message.saturating_add(self.timeout_ms) <= now;
        if is_silent && !timed_out.requesters.is_empty() {
            timed_out.reset = Some(stream);
        } else {
            let cancels = ids.into_iter().map(|id| cancel_message(stream, id));
            timed_out.cancels = cancels.collect();
        }
        timed_out
    }

    /// The clock has moved back by `moved_back_ms`: deadlines keep their distance.
    fn clock_moved_back(&mut self, moved_back_ms: u64) {
        for call in self.pending.values_mut() {
            call.deadline = call.deadline.saturating_sub(moved_back_ms);
        }
        self.earliest = self.earliest.saturating_sub(moved_back_ms);
        match &mut self.state {
            State::Open {
                last_message: time, ..
            }
            | State::Opening { since: time, .. } => {
                *time = time.saturating_sub(moved_back_ms);
            }
            State::Closed => {}
        }
    }

    /// A stream has ended. Returns the pending calls, which have to go as HTTP requests, with their ids and in their
    /// order. `None` when it was an earlier stream.
    pub fn closed(&mut self, stream: u32, now: u64) -> Option<Vec<(u64, PendingCall<W>)>> {
        match self.state {
            State::Opening {
                stream: current, ..
            } if current == stream => self.schedule.failed(now),
            State::Open {
                stream: current,
                useful: was_useful,
                ..
            } if current == stream => {
                if was_useful {
                    self.schedule.succeeded(now);
                } else {
                    self.schedule.failed(now);
                }
            }
            _ => return None,
        }
        self.state = State::Closed;
        self.wanted = false;
        self.earliest = u64::MAX;
        let mut calls: Vec<_> = self.pending.drain().collect();
        calls.sort_unstable_by_key(|(id, _)| *id);
        Some(calls)
    }
}

/// Cancels a call at the service.
fn cancel_message(stream: u32, id: u64) -> OutboundMessage {
    let message = Call::cancel(id).encode_to_vec();
    OutboundMessage {
        stream,
        id,
        message,
    }
}

#[cfg(test)]
mod tests;
