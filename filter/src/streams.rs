//! The open streams of one worker: whose they are, and which of them must end. A stream ends because its
//! session has (told by the service, or by time), because it is too old, or because its engine is drained.
//! It is then doomed: its [`Tap`] puts a close frame between the client's frames, and what is still open
//! after a grace is cut off. Knows no clock and no host: both are told what time it is, in milliseconds
//! since 1970.

mod doom;
mod ended;
mod tap;

use crate::placement::Placed;
use berth_api::{CloseReason, ClosedStream, OpenStream};
use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

pub use ended::Ended;
pub use tap::{Pass, Tap};

/// Milliseconds between two mentions of activity, of one stream and of one session.
pub(crate) const ACTIVE_EVERY_MS: u64 = 1_000;
/// Streams that are cut off at one time: each takes the worker a fraction of a millisecond.
const MAX_RESETS: usize = 100;
/// Milliseconds after which a cut is tried again.
const RESET_AGAIN_MS: u64 = 5_000;
/// A client that has said nothing for so many milliseconds gets no close frame across: nothing to wait for.
const SILENT_MS: u64 = 5_000;
/// Milliseconds before the end of a stream that is too old at which it counts as warned.
const WARNING_MS: u64 = 10_000;

/// What the registry and the stream itself know of each other.
#[derive(Debug)]
struct Live {
    /// Why it must end, once it must.
    doom: Cell<Option<CloseReason>>,
    /// When the client was last heard, by a coarse clock.
    heard: Cell<u64>,
}

/// In which order streams are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Not at all: there is something else to look at.
    Live,
    /// First: who has no session any more has no right to a stream.
    Over,
    /// Then those who only have to go elsewhere, or to come again.
    Leaving,
}

/// When there is something to do about which stream.
type Deadlines = BTreeSet<(Class, u64, u32)>;

struct Open {
    placed: Placed,
    live: Rc<Live>,
    opened_at: u64,
    max_age_at: Option<u64>,
    warned: bool,
    drain_at: Option<u64>,
    /// When there is something to do about it.
    next: u64,
    /// Its class when that was noted.
    noted: Class,
}

impl Open {
    /// When it must end, and why.
    fn end(&self) -> (u64, CloseReason) {
        let session = self.placed.session_expires_at.saturating_mul(1000);
        let ends = [
            Some((session, CloseReason::Expired)),
            self.max_age_at.map(|at| (at, CloseReason::TooOld)),
            self.drain_at.map(|at| (at, CloseReason::Drained)),
        ];
        let first = ends.into_iter().flatten().min_by_key(|(at, _)| *at);
        first.unwrap_or((session, CloseReason::Expired))
    }

    fn class(&self) -> Class {
        match self.live.doom.get() {
            None => Class::Live,
            Some(CloseReason::Expired | CloseReason::Revoked) => Class::Over,
            Some(_) => Class::Leaving,
        }
    }

    fn warning_at(&self) -> Option<u64> {
        let at = self.max_age_at.filter(|_| !self.warned)?;
        Some(at.saturating_sub(WARNING_MS))
    }
}

/// How a stream has ended, as the host saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The status of the answer to the upgrade, if there was one.
    pub status: Option<u16>,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
}

/// What is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Streams to cut off.
    pub resets: Vec<u32>,
    /// How many streams will soon be too old.
    pub warnings: u32,
}

/// The registry. Streams go by the number that the host gave them.
pub struct Streams {
    grace_ms: u64,
    open: HashMap<u32, Open>,
    by_session: HashMap<Rc<str>, Vec<u32>>,
    deadlines: Deadlines,
    doomed: usize,
}

impl Streams {
    /// A registry whose doomed streams have `grace_ms` milliseconds for a close frame to do its work.
    #[must_use]
    pub fn new(grace_ms: u64) -> Self {
        Self {
            grace_ms,
            open: HashMap::new(),
            by_session: HashMap::new(),
            deadlines: Deadlines::new(),
            doomed: 0,
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

    /// Whether one is on its way out.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.doomed > 0
    }

    /// A stream has been sent to its engine. `random` is one of `0.0..1.0`.
    pub fn open(&mut self, id: u32, placed: Placed, now: u64, random: f64) -> Tap {
        let live = Rc::new(Live {
            doom: Cell::new(None),
            heard: Cell::new(now),
        });
        let session: Rc<str> = placed.session_ref.as_str().into();
        let tap = Tap::new(Rc::clone(&session), Rc::clone(&live));
        self.by_session.entry(session).or_default().push(id);
        let max_age = placed.max_age.as_ref();
        let mut open = Open {
            live,
            opened_at: now,
            max_age_at: max_age.map(|age| now.saturating_add(age.of(random))),
            placed,
            warned: false,
            drain_at: None,
            next: 0,
            noted: Class::Live,
        };
        schedule(&mut self.deadlines, id, &mut open, None);
        self.open.insert(id, open);
        tap
    }

    /// A stream is over.
    pub fn close(&mut self, id: u32, now: u64, ending: Ending) -> Option<ClosedStream> {
        let open = self.open.remove(&id)?;
        self.deadlines.remove(&(open.noted, open.next, id));
        let session = open.placed.session_ref.as_str();
        if let Some(ids) = self.by_session.get_mut(session) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_session.remove(session);
            }
        }
        let reason = match (open.live.doom.get(), ending.status) {
            (Some(reason), _) => {
                self.doomed = self.doomed.saturating_sub(1);
                reason
            }
            // 101, or 200 where HTTP/2 has it so (RFC 8441).
            (None, None | Some(101 | 200)) => CloseReason::Ended,
            (None, Some(_)) => CloseReason::Refused,
        };
        Some(ClosedStream {
            stream: open.placed.stream,
            reason,
            duration_ms: now.saturating_sub(open.opened_at),
            bytes_received: ending.received,
            bytes_sent: ending.sent,
        })
    }

    /// The numbers of all that are open.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.open.keys().copied()
    }

    /// One of them, as it is reported.
    #[must_use]
    pub fn describe(&self, id: u32) -> Option<OpenStream> {
        let open = self.open.get(&id)?;
        Some(OpenStream {
            stream: open.placed.stream.clone(),
            session_ref: open.placed.session_ref.clone(),
            pool: open.placed.pool.clone(),
            engine: open.placed.engine.clone(),
            opened_at: open.opened_at / 1000,
        })
    }
}

/// Puts a stream where its next deadline is, `at` or the first that it has by itself.
fn schedule(deadlines: &mut Deadlines, id: u32, open: &mut Open, at: Option<u64>) {
    deadlines.remove(&(open.noted, open.next, id));
    open.noted = open.class();
    open.next = at.unwrap_or_else(|| {
        let (end, _) = open.end();
        open.warning_at().map_or(end, |warning| warning.min(end))
    });
    deadlines.insert((open.noted, open.next, id));
}

#[cfg(test)]
mod tests;
