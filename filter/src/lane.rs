//! The stream of calls of one worker (see `berth_api::Call`): when to open it, which calls are under way on
//! it, and which of them have waited long enough. It carries calls from its first message on, with which the service
//! greets; until then, and whenever it is lost, calls go as requests of their own. Knows no host; `W` is
//! what the host keeps of one that waits. Times are milliseconds of any clock.

use crate::schedule::Schedule;
use berth_api::{Call, MAX_CALLS, Reply};
use prost::Message;
use std::collections::HashMap;
use std::fmt;

/// Milliseconds between two tries at the most.
const MAX_BACK_OFF_MS: u64 = 30_000;

/// The stream, as the host numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    None,
    /// The service has not greeted yet.
    Opening {
        stream: u32,
        since: u64,
    },
    Open {
        stream: u32,
        /// When something was last heard on it.
        heard: u64,
        /// Whether a call was answered on it.
        useful: bool,
    },
}

/// What one waits for.
pub struct Waits<W> {
    /// The service's path.
    pub path: &'static str,
    /// The JSON. Holds a secret.
    pub body: Vec<u8>,
    /// Who waits.
    pub who: W,
    deadline: u64,
}

/// A message to send.
#[derive(PartialEq, Eq)]
pub struct Sending {
    /// On this stream.
    pub stream: u32,
    /// The call's number.
    pub id: u64,
    /// The message. Holds a secret.
    pub message: Vec<u8>,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stream,
            id,
            message,
        } = self;
        write!(f, "call {id} on stream {stream}, {} bytes", message.len())
    }
}

/// What has been heard.
#[derive(PartialEq, Eq)]
pub struct Heard<W> {
    /// Who waited for it, if anybody still does.
    pub who: Option<W>,
    /// The status.
    pub status: u16,
    /// The body. Holds a token.
    pub body: Vec<u8>,
}

impl<W: fmt::Debug> fmt::Debug for Heard<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, status, body } = self;
        write!(f, "reply to {who:?}: {status}, {} bytes", body.len())
    }
}

/// What has waited for long enough.
pub struct Overdue<W> {
    /// Those whose time is up.
    pub waits: Vec<W>,
    /// What to tell the service of them.
    pub cancels: Vec<Sending>,
    /// A stream without a message from the service for as long: it is to be cut off.
    pub cut: Option<u32>,
}

/// The lane.
pub struct Lane<W> {
    timeout_ms: u64,
    schedule: Schedule,
    stream: Stream,
    /// The service has answered a call that went as a request of its own.
    wanted: bool,
    last: u64,
    waiting: HashMap<u64, Waits<W>>,
    /// No deadline is earlier.
    earliest: u64,
    /// When it was last looked for those whose time is up.
    looked: u64,
}

impl<W> Lane<W> {
    /// A lane whose calls, and whose greeting, may take `timeout_ms` milliseconds. `seed`: see
    /// [`Schedule::with_jitter`].
    #[must_use]
    pub fn new(timeout_ms: u32, seed: u64) -> Self {
        Self {
            timeout_ms: timeout_ms.into(),
            schedule: Schedule::new(0, MAX_BACK_OFF_MS, u64::MAX).with_jitter(seed),
            stream: Stream::None,
            wanted: false,
            last: 0,
            waiting: HashMap::new(),
            earliest: u64::MAX,
            looked: 0,
        }
    }

    /// The service has answered a call that went as a request: a stream would have carried it, and is worth a try.
    pub fn answered_request(&mut self) {
        if self.stream == Stream::None {
            self.wanted = true;
        }
    }

    /// Whether to open a stream now.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.wanted && self.stream == Stream::None && self.schedule.is_due(now)
    }

    /// A stream is being opened; `None` when the host could not even begin.
    pub fn opening(&mut self, stream: Option<u32>, now: u64) {
        self.schedule.started(now);
        match stream {
            Some(stream) => self.stream = Stream::Opening { stream, since: now },
            None => {
                self.schedule.failed(now);
                self.wanted = false;
            }
        }
    }

    /// A call; gives `who` and the body back when it has to go as a request.
    ///
    /// # Errors
    /// With what was to wait.
    pub fn call(
        &mut self,
        path: &'static str,
        body: Vec<u8>,
        who: W,
        now: u64,
    ) -> Result<Sending, (Vec<u8>, W)> {
        let Stream::Open { stream, .. } = self.stream else {
            return Err((body, who));
        };
        if self.waiting.len() >= MAX_CALLS {
            return Err((body, who));
        }
        self.last = self.last.wrapping_add(1);
        let call = Call {
            id: self.last,
            path: path.to_owned(),
            body,
        };
        let message = call.encode_to_vec();
        let deadline = now.saturating_add(self.timeout_ms);
        self.earliest = self.earliest.min(deadline);
        let waits = Waits {
            path,
            body: call.body,
            who,
            deadline,
        };
        self.waiting.insert(call.id, waits);
        Ok(Sending {
            stream,
            id: call.id,
            message,
        })
    }

    /// Nobody waits for a call any more; what to tell the service.
    pub fn cancel(&mut self, id: u64) -> Option<Sending> {
        self.waiting.remove(&id)?;
        let Stream::Open { stream, .. } = self.stream else {
            return None;
        };
        Some(taken_back(stream, id))
    }

    /// A call could not be sent.
    pub fn unsent(&mut self, id: u64) -> Option<Waits<W>> {
        self.waiting.remove(&id)
    }

    /// A message has come: the greeting, which answers no call, or a reply. `None` when it is of another stream.
    ///
    /// # Errors
    /// When it is no reply: the stream is to be cut off.
    pub fn heard(
        &mut self,
        stream: u32,
        message: &[u8],
        now: u64,
    ) -> Result<Option<Heard<W>>, NoReply> {
        let was_useful = match self.stream {
            Stream::Opening {
                stream: current, ..
            } if current == stream => false,
            Stream::Open {
                stream: current,
                useful,
                ..
            } if current == stream => useful,
            _ => return Ok(None),
        };
        let Reply { id, status, body } = Reply::decode(message).map_err(|_| NoReply)?;
        let status = u16::try_from(status).map_err(|_| NoReply)?;
        let who = self.waiting.remove(&id).map(|waits| waits.who);
        self.stream = Stream::Open {
            stream,
            heard: now,
            useful: was_useful || who.is_some(),
        };
        Ok(Some(Heard { who, status, body }))
    }

    /// Those whose time is up.
    pub fn overdue(&mut self, now: u64) -> Overdue<W> {
        let mut overdue = Overdue {
            waits: Vec::new(),
            cancels: Vec::new(),
            cut: None,
        };
        if now < self.looked {
            self.set_back(self.looked.saturating_sub(now));
        }
        self.looked = now;
        if let Stream::Opening { stream, since } = self.stream
            && since.saturating_add(self.timeout_ms) <= now
        {
            overdue.cut = Some(stream);
        }
        if now < self.earliest {
            return overdue;
        }
        let up = self.waiting.extract_if(|_, waits| waits.deadline <= now);
        let (ids, waits): (Vec<_>, Vec<_>) = up.map(|(id, waits)| (id, waits.who)).unzip();
        overdue.waits = waits;
        let left = self.waiting.values().map(|waits| waits.deadline);
        self.earliest = left.min().unwrap_or(u64::MAX);
        if let Stream::Open { stream, heard, .. } = self.stream
            && !overdue.waits.is_empty()
            && heard.saturating_add(self.timeout_ms) <= now
        {
            overdue.cut = Some(stream);
        } else if let Stream::Open { stream, .. } = self.stream {
            overdue.cancels = ids.into_iter().map(|id| taken_back(stream, id)).collect();
        }
        overdue
    }

    /// The clock has been set back by so many milliseconds: nobody waits longer for that.
    fn set_back(&mut self, by: u64) {
        for waits in self.waiting.values_mut() {
            waits.deadline = waits.deadline.saturating_sub(by);
        }
        self.earliest = self.earliest.saturating_sub(by);
        match &mut self.stream {
            Stream::Open { heard: at, .. } | Stream::Opening { since: at, .. } => {
                *at = at.saturating_sub(by);
            }
            Stream::None => {}
        }
    }

    /// A stream has ended. Calls that waited on it have to go as requests: each with its number, in the order of the
    /// calls. `None` when it was not the lane's.
    pub fn closed(&mut self, stream: u32, now: u64) -> Option<Vec<(u64, Waits<W>)>> {
        match self.stream {
            Stream::Opening {
                stream: current, ..
            } if current == stream => self.schedule.failed(now),
            Stream::Open {
                stream: current,
                useful,
                ..
            } if current == stream => {
                if useful {
                    self.schedule.succeeded(now);
                } else {
                    self.schedule.failed(now);
                }
            }
            _ => return None,
        }
        self.stream = Stream::None;
        self.wanted = false;
        self.earliest = u64::MAX;
        let mut left: Vec<_> = self.waiting.drain().collect();
        left.sort_unstable_by_key(|(id, _)| *id);
        Some(left)
    }
}

/// Tells the service that nobody waits for a call any more.
fn taken_back(stream: u32, id: u64) -> Sending {
    let message = Call::cancel(id).encode_to_vec();
    Sending {
        stream,
        id,
        message,
    }
}

/// A message that is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoReply;

#[cfg(test)]
mod tests;
