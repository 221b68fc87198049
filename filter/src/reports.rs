//! What a gateway tells the placement service of its streams: which have opened and closed, whose clients
//! are active, in batches; and the whole list, in parts, when the service has lost the thread. What a lost
//! report said is said again. Knows no host; times are milliseconds of any clock.

use crate::schedule::Schedule;
use crate::streams::{ACTIVE_EVERY_MS, Streams};
use berth_api::{ClosedStream, GatewayReport, MAX_REPORTED, OpenStream, Part};
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

/// Milliseconds between two reports at the least.
const EVERY_MS: u64 = 250;
/// Milliseconds that mentions of activity may wait for company.
const ACTIVE_WAIT_MS: u64 = 500;
/// Sessions whose last mention is remembered, and streams that wait to be reported: at the most. Beyond that a
/// session is mentioned again early, the oldest closed stream goes unexplained, and the open ones are listed anew.
const MAX_KEPT: usize = 20_000;
/// Milliseconds between two tries at the most.
const MAX_BACK_OFF_MS: u64 = 2_000;
/// Milliseconds after which a report counts as lost.
const LOST_AFTER_MS: u64 = 10_000;

/// The reports of one gateway.
#[derive(Debug)]
pub struct Reports {
    sequence: u64,
    schedule: Schedule,
    opened: VecDeque<OpenStream>,
    closed: VecDeque<ClosedStream>,
    active: HashSet<Rc<str>>,
    active_since: u64,
    mentioned: HashMap<Rc<str>, u64>,
    cleared_at: u64,
    listing: Listing,
    /// What the report that is under way says.
    sent: Option<Sent>,
}

/// Where the whole list is.
#[derive(Debug)]
enum Listing {
    None,
    Wanted,
    UnderWay { rest: VecDeque<u32>, first: bool },
}

#[derive(Debug)]
struct Sent {
    closed: Vec<ClosedStream>,
    active: Vec<Rc<str>>,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            sequence: 0,
            schedule: Schedule::new(EVERY_MS, MAX_BACK_OFF_MS, LOST_AFTER_MS),
            opened: VecDeque::new(),
            closed: VecDeque::new(),
            active: HashSet::new(),
            active_since: 0,
            mentioned: HashMap::new(),
            cleared_at: 0,
            listing: Listing::None,
            sent: None,
        }
    }
}

impl Reports {
    /// A stream has opened.
    pub fn opened(&mut self, id: u32, stream: OpenStream) {
        match &mut self.listing {
            Listing::None if self.opened.len() < MAX_KEPT => self.opened.push_back(stream),
            // The whole list has it.
            Listing::None => self.list(),
            Listing::Wanted => {}
            Listing::UnderWay { rest, .. } => rest.push_back(id),
        }
    }

    /// A stream has closed.
    pub fn closed(&mut self, stream: ClosedStream) {
        if self.closed.len() >= MAX_KEPT {
            self.closed.pop_front();
        }
        self.closed.push_back(stream);
    }

    /// A session's client has done something.
    pub fn active(&mut self, session_ref: &str, now: u64) {
        let lately = |at: &u64| now < at.saturating_add(ACTIVE_EVERY_MS);
        if self.mentioned.get(session_ref).is_some_and(lately) {
            return;
        }
        if !lately(&self.cleared_at) {
            self.cleared_at = now;
            self.mentioned.retain(|_, at| lately(at));
        }
        let session: Rc<str> = session_ref.into();
        if self.mentioned.len() < MAX_KEPT {
            self.mentioned.insert(Rc::clone(&session), now);
        }
        if self.active.is_empty() {
            self.active_since = now;
        }
        if self.active.len() < MAX_KEPT {
            self.active.insert(session);
        }
    }

    /// The clock has been set back: what was mentioned when is not known any more.
    pub fn set_back(&mut self, now: u64) {
        self.mentioned.clear();
        self.cleared_at = self.cleared_at.min(now);
        self.active_since = self.active_since.min(now);
    }

    /// The service wants the whole list.
    pub fn list(&mut self) {
        self.listing = Listing::Wanted;
        self.opened.clear();
    }

    /// Whether there is anything to say, now or soon.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.has_changes() || !self.active.is_empty()
    }

    /// The number of the next report; a poll has one, too.
    pub const fn number(&mut self) -> u64 {
        self.sequence = self.sequence.saturating_add(1);
        self.sequence
    }

    /// The report that is due.
    pub fn next(&mut self, streams: &Streams, now: u64) -> Option<GatewayReport> {
        if self.schedule.is_lost(now) {
            self.failed(now);
        }
        let active_due =
            !self.active.is_empty() && now >= self.active_since.saturating_add(ACTIVE_WAIT_MS);
        if !self.schedule.is_due(now) || !(self.has_changes() || active_due) {
            return None;
        }
        self.schedule.started(now);
        let mut room = MAX_REPORTED;
        let (full, opened) = self.openings(streams, &mut room);
        let closed: Vec<ClosedStream> = take(&mut self.closed, &mut room);
        let active: Vec<Rc<str>> = self.active.iter().take(room).map(Rc::clone).collect();
        for session in &active {
            self.active.remove(session);
        }
        let report = GatewayReport {
            sequence: self.number(),
            full,
            opened,
            active: active.iter().map(|session| session.to_string()).collect(),
            closed: closed.clone(),
            cursor: None,
            hold_ms: 0,
        };
        self.sent = Some(Sent { closed, active });
        Some(report)
    }

    /// The report has been taken.
    pub fn succeeded(&mut self, now: u64) {
        self.schedule.succeeded(now);
        self.sent = None;
    }

    /// The report has not been taken, or nobody knows.
    pub fn failed(&mut self, now: u64) {
        self.schedule.failed(now);
        self.list();
        let Some(sent) = self.sent.take() else {
            return;
        };
        for stream in sent.closed.into_iter().rev() {
            if self.closed.len() < MAX_KEPT {
                self.closed.push_front(stream);
            }
        }
        self.active.extend(sent.active);
    }

    fn has_changes(&self) -> bool {
        !self.opened.is_empty() || !self.closed.is_empty() || !matches!(self.listing, Listing::None)
    }

    fn openings(&mut self, streams: &Streams, room: &mut usize) -> (Option<Part>, Vec<OpenStream>) {
        let (mut rest, first) = match std::mem::replace(&mut self.listing, Listing::None) {
            Listing::None => return (None, take(&mut self.opened, room)),
            Listing::Wanted => (streams.ids().collect(), true),
            Listing::UnderWay { rest, first } => (rest, first),
        };
        let mut opened = Vec::new();
        while *room > 0
            && let Some(id) = rest.pop_front()
        {
            // One that has closed since the list began is in no part of it.
            if let Some(stream) = streams.describe(id) {
                opened.push(stream);
                *room = room.saturating_sub(1);
            }
        }
        let part = match (first, rest.is_empty()) {
            (true, true) => Part::Whole,
            (true, false) => Part::First,
            (false, false) => Part::Middle,
            (false, true) => Part::Last,
        };
        if !rest.is_empty() {
            self.listing = Listing::UnderWay { rest, first: false };
        }
        (Some(part), opened)
    }
}

/// As many of the first as there is room for.
fn take<T>(from: &mut VecDeque<T>, room: &mut usize) -> Vec<T> {
    let taken: Vec<T> = from.drain(..from.len().min(*room)).collect();
    *room = room.saturating_sub(taken.len());
    taken
}

#[cfg(test)]
mod tests;
