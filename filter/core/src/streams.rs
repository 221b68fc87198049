//! The open streams of one worker: their sessions, and which of them must end. A stream ends because its session has
//! ended (by event or by time), because it has reached its maximum age, because an operator ended it, or because its
//! engine or this Envoy drains. It is then
//! closing: its [`FrameInterceptor`] inserts a close frame between the client's frames, and a stream that is still
//! open after the close timeout is reset. Knows no clock and no host: the caller passes the time in milliseconds
//! since 1970.

mod end_cause;
mod ended_sessions;
mod engine_drains;
pub mod frames;
mod interceptor;
mod placed_requests;
mod termination;

use crate::routing::MaxAge;
use berth_api::{CloseReason, ClosedStream, OpenStream};
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use engine_drains::EngineDrains;

pub use end_cause::EndObservation;
pub use ended_sessions::EndedSessions;
pub use interceptor::{ActiveStream, ChunkAction, FrameInterceptor};
pub use placed_requests::PlacedRequests;

/// Minimum milliseconds between two activity reports, of one stream and of one session.
pub(crate) const ACTIVITY_INTERVAL_MS: u64 = 1_000;
/// Maximum resets at one time: each takes the worker a fraction of a millisecond.
pub(crate) const MAX_RESETS: usize = 100;
/// Milliseconds after which a reset is repeated.
const RESET_RETRY_MS: u64 = 5_000;
/// A client that has sent nothing for this many milliseconds will not carry a close frame: its stream is reset at once.
const SILENT_MS: u64 = 5_000;
/// Milliseconds before its maximum age at which a stream counts as warned.
const WARNING_MS: u64 = 10_000;

/// A stream that has its engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedStream {
    /// The name of the stream.
    pub stream: String,
    /// The session that it belongs to.
    pub session_ref: String,
    /// The name of the pool.
    pub pool: String,
    /// The name of the engine.
    pub engine: String,
    /// Why this engine.
    pub reason: String,
    /// Unix seconds.
    pub session_expires_at: u64,
    /// Its maximum age, if its route has one.
    pub max_age: Option<MaxAge>,
    /// The key of its route's affinity, if it has one.
    pub key: Option<Rc<str>>,
    /// Whether data of the client keeps the session and the key alive.
    pub counts_activity: bool,
}

/// What the registry and the interceptor of a stream share.
#[derive(Debug)]
struct StreamState {
    /// Why it must end; `None` while it may stay open.
    close_reason: Cell<Option<CloseReason>>,
    /// When the client last sent something, by a coarse clock.
    last_active: Cell<u64>,
    /// The client has sent a close frame.
    client_closed: Cell<bool>,
    /// The code of the client's close frame.
    close_code: Cell<Option<u16>>,
}

/// Which streams a drain closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainTarget<'a> {
    /// Those of one engine.
    Engine {
        /// The name of its pool.
        pool: &'a str,
        /// The name of the engine.
        engine: &'a str,
    },
    /// All of this worker.
    Gateway,
}

/// The order in which streams are reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ClosePriority {
    /// Not closing: its deadline is an expiry or a warning.
    None,
    /// First: a client without a session has no right to a stream.
    SessionEnded,
    /// Then streams whose clients only have to reconnect.
    Relocated,
}

/// When which stream needs action.
type Deadlines = BTreeSet<(ClosePriority, u64, u32)>;

struct StreamEntry {
    placed: PlacedStream,
    state: Rc<StreamState>,
    opened_at: u64,
    max_age_at: Option<u64>,
    warned: bool,
    drain_at: Option<u64>,
    /// Its next deadline.
    next: u64,
    /// The priority under which that deadline is scheduled.
    scheduled_as: ClosePriority,
}

impl StreamEntry {
    /// When it must end, and why.
    fn end(&self) -> (u64, CloseReason) {
        let session = self.placed.session_expires_at.saturating_mul(1000);
        let deadlines = [
            Some((session, CloseReason::Expired)),
            self.max_age_at
                .map(|deadline| (deadline, CloseReason::TooOld)),
            self.drain_at
                .map(|deadline| (deadline, CloseReason::Drained)),
        ];
        let earliest = deadlines
            .into_iter()
            .flatten()
            .min_by_key(|(deadline, _)| *deadline);
        earliest.unwrap_or((session, CloseReason::Expired))
    }

    fn priority(&self) -> ClosePriority {
        match self.state.close_reason.get() {
            None => ClosePriority::None,
            Some(CloseReason::Expired | CloseReason::Revoked) => ClosePriority::SessionEnded,
            Some(_) => ClosePriority::Relocated,
        }
    }

    fn warning_at(&self) -> Option<u64> {
        let max_age_at = self.max_age_at.filter(|_| !self.warned)?;
        Some(max_age_at.saturating_sub(WARNING_MS))
    }
}

/// What the host knows of a stream when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSummary {
    /// The status of the response to the upgrade, if there was one.
    pub status: Option<u16>,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
}

/// The actions that are due.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DueActions {
    /// Streams to reset.
    pub resets: Vec<u32>,
    /// How many streams will soon reach their maximum age.
    pub warnings: u32,
}

/// The registry. A stream's id is that of its context in the host.
pub struct Streams {
    close_timeout_ms: u64,
    open: HashMap<u32, StreamEntry>,
    by_session: HashMap<Rc<str>, Vec<u32>>,
    deadlines: Deadlines,
    closing: usize,
    engine_drains: EngineDrains,
}

impl Streams {
    /// A registry that resets closing streams after `close_timeout_ms`.
    #[must_use]
    pub fn new(close_timeout_ms: u64) -> Self {
        Self {
            close_timeout_ms,
            open: HashMap::new(),
            by_session: HashMap::new(),
            deadlines: Deadlines::new(),
            closing: 0,
            engine_drains: EngineDrains::default(),
        }
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether any stream is closing.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing > 0
    }

    /// Adds a stream that was sent to its engine. `random` is in `0.0..1.0`.
    pub fn open(
        &mut self,
        id: u32,
        placed: PlacedStream,
        now: u64,
        random: f64,
    ) -> FrameInterceptor {
        let state = Rc::new(StreamState {
            close_reason: Cell::new(None),
            last_active: Cell::new(now),
            client_closed: Cell::new(false),
            close_code: Cell::new(None),
        });
        let session: Rc<str> = placed.session_ref.as_str().into();
        let active = placed.counts_activity.then(|| ActiveStream {
            session_ref: Rc::clone(&session),
            key: placed.key.clone(),
        });
        let interceptor = FrameInterceptor::new(active, Rc::clone(&state));
        self.by_session.entry(session).or_default().push(id);
        let max_age = placed.max_age.as_ref();
        let mut stream = StreamEntry {
            state,
            opened_at: now,
            max_age_at: max_age.map(|age| now.saturating_add(age.sample_ms(random))),
            drain_at: self.engine_drains.close_at(&placed, now),
            placed,
            warned: false,
            next: 0,
            scheduled_as: ClosePriority::None,
        };
        schedule(&mut self.deadlines, id, &mut stream, None);
        self.open.insert(id, stream);
        interceptor
    }

    /// Removes a stream that has ended.
    pub fn close(&mut self, id: u32, now: u64, summary: StreamSummary) -> Option<ClosedStream> {
        let stream = self.open.remove(&id)?;
        self.deadlines
            .remove(&(stream.scheduled_as, stream.next, id));
        let session = stream.placed.session_ref.as_str();
        if let Some(ids) = self.by_session.get_mut(session) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_session.remove(session);
            }
        }
        let reason = match (stream.state.close_reason.get(), summary.status) {
            (Some(reason), _) => {
                self.closing = self.closing.saturating_sub(1);
                reason
            }
            // 101; 200 over HTTP/2 (RFC 8441).
            (None, None | Some(101 | 200)) => CloseReason::Ended,
            (None, Some(_)) => CloseReason::Refused,
        };
        Some(ClosedStream {
            stream: stream.placed.stream,
            reason,
            duration_ms: now.saturating_sub(stream.opened_at),
            bytes_received: summary.received,
            bytes_sent: summary.sent,
            close_code: stream.state.close_code.get(),
        })
    }

    /// The ids of all open streams.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.open.keys().copied()
    }

    /// A stream as it is reported.
    #[must_use]
    pub fn describe(&self, id: u32) -> Option<OpenStream> {
        let stream = self.open.get(&id)?;
        Some(OpenStream {
            stream: stream.placed.stream.clone(),
            session_ref: stream.placed.session_ref.clone(),
            pool: stream.placed.pool.clone(),
            engine: stream.placed.engine.clone(),
            opened_at: stream.opened_at / 1000,
            key: stream.placed.key.as_deref().map(str::to_owned),
        })
    }
}

/// Schedules the next deadline of a stream: `deadline`, or the first expiry or warning that it has.
fn schedule(deadlines: &mut Deadlines, id: u32, stream: &mut StreamEntry, deadline: Option<u64>) {
    deadlines.remove(&(stream.scheduled_as, stream.next, id));
    stream.scheduled_as = stream.priority();
    stream.next = deadline.unwrap_or_else(|| {
        let (end, _) = stream.end();
        stream.warning_at().map_or(end, |warning| warning.min(end))
    });
    deadlines.insert((stream.scheduled_as, stream.next, id));
}

#[cfg(test)]
mod tests;
