//! What a gateway reports to the placement service: opened and closed streams and active sessions, in batches; and
//! the list of all open streams, in parts, when the service asks for it. The content of a failed report is sent again.
//! Knows no host; times are milliseconds of any clock.

use crate::retry::RetrySchedule;
use crate::streams::{ACTIVITY_INTERVAL_MS, Streams};
use berth_api::{ClosedStream, FullSyncPart, GatewayReport, MAX_REPORT_ENTRIES, OpenStream};
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

/// Minimum milliseconds between two reports.
const INTERVAL_MS: u64 = 250;
/// Milliseconds that activity may wait to be batched.
const ACTIVITY_DELAY_MS: u64 = 500;
/// Maximum sessions whose last report is remembered, and maximum streams that wait to be reported. Beyond that a
/// session is reported early, the oldest closed stream is dropped, and open streams are listed again.
const MAX_QUEUED: usize = 20_000;
/// Maximum milliseconds between two attempts after failures.
const MAX_BACK_OFF_MS: u64 = 2_000;
/// Milliseconds after which a report without a response counts as failed.
const TIMEOUT_MS: u64 = 10_000;

/// Reports the streams of one gateway.
#[derive(Debug)]
pub struct StreamReporter {
    sequence: u64,
    schedule: RetrySchedule,
    opened: VecDeque<OpenStream>,
    closed: VecDeque<ClosedStream>,
    active: HashSet<Rc<str>>,
    active_since: u64,
    last_reported: HashMap<Rc<str>, u64>,
    cleared_at: u64,
    full_sync: FullSync,
    /// The content of the report in flight.
    in_flight: Option<ReportContent>,
}

/// The state of the transfer of the full list of streams.
#[derive(Debug)]
enum FullSync {
    Idle,
    Requested,
    InProgress {
        remaining: VecDeque<u32>,
        first: bool,
    },
}

#[derive(Debug)]
struct ReportContent {
    closed: Vec<ClosedStream>,
    active: Vec<Rc<str>>,
}

impl Default for StreamReporter {
    fn default() -> Self {
        Self {
            sequence: 0,
            schedule: RetrySchedule::new(INTERVAL_MS, MAX_BACK_OFF_MS, TIMEOUT_MS),
            opened: VecDeque::new(),
            closed: VecDeque::new(),
            active: HashSet::new(),
            active_since: 0,
            last_reported: HashMap::new(),
            cleared_at: 0,
            full_sync: FullSync::Idle,
            in_flight: None,
        }
    }
}

impl StreamReporter {
    /// A stream has opened.
    pub fn opened(&mut self, id: u32, stream: OpenStream) {
        match &mut self.full_sync {
            FullSync::Idle if self.opened.len() < MAX_QUEUED => self.opened.push_back(stream),
            // The list will contain it.
            FullSync::Idle => self.request_full_sync(),
            FullSync::Requested => {}
            FullSync::InProgress { remaining, .. } => remaining.push_back(id),
        }
    }

    /// A stream has closed.
    pub fn closed(&mut self, stream: ClosedStream) {
        if self.closed.len() >= MAX_QUEUED {
            self.closed.pop_front();
        }
        self.closed.push_back(stream);
    }

    /// The client of a session was active.
    pub fn active(&mut self, session_ref: &str, now: u64) {
        let is_recent = |reported_at: &u64| now < reported_at.saturating_add(ACTIVITY_INTERVAL_MS);
        if self.last_reported.get(session_ref).is_some_and(is_recent) {
            return;
        }
        if !is_recent(&self.cleared_at) {
            self.cleared_at = now;
            self.last_reported
                .retain(|_, reported_at| is_recent(reported_at));
        }
        let session: Rc<str> = session_ref.into();
        if self.last_reported.len() < MAX_QUEUED {
            self.last_reported.insert(Rc::clone(&session), now);
        }
        if self.active.is_empty() {
            self.active_since = now;
        }
        if self.active.len() < MAX_QUEUED {
            self.active.insert(session);
        }
    }

    /// The clock has moved back: the age of the last reports is unknown.
    pub fn clock_moved_back(&mut self, now: u64) {
        self.last_reported.clear();
        self.cleared_at = self.cleared_at.min(now);
        self.active_since = self.active_since.min(now);
    }

    /// The next reports contain the list of all streams.
    pub fn request_full_sync(&mut self) {
        self.full_sync = FullSync::Requested;
        self.opened.clear();
    }

    /// Whether there is anything to report, now or soon.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.has_changes() || !self.active.is_empty()
    }

    /// The next sequence number; reports and polls share them.
    pub const fn number(&mut self) -> u64 {
        self.sequence = self.sequence.saturating_add(1);
        self.sequence
    }

    /// The report that is due.
    pub fn next(&mut self, streams: &Streams, now: u64) -> Option<GatewayReport> {
        if self.schedule.is_timed_out(now) {
            self.failed(now);
        }
        let is_active_due =
            !self.active.is_empty() && now >= self.active_since.saturating_add(ACTIVITY_DELAY_MS);
        if !self.schedule.is_due(now) || !(self.has_changes() || is_active_due) {
            return None;
        }
        self.schedule.started(now);
        let mut capacity = MAX_REPORT_ENTRIES;
        let (full_sync, opened) = self.take_opened(streams, &mut capacity);
        let closed: Vec<ClosedStream> = take(&mut self.closed, &mut capacity);
        let active: Vec<Rc<str>> = self.active.iter().take(capacity).map(Rc::clone).collect();
        for session in &active {
            self.active.remove(session);
        }
        let report = GatewayReport {
            sequence: self.number(),
            full: full_sync,
            opened,
            active: active.iter().map(|session| session.to_string()).collect(),
            closed: closed.clone(),
            ..GatewayReport::default()
        };
        self.in_flight = Some(ReportContent { closed, active });
        Some(report)
    }

    /// The service has accepted the report.
    pub fn succeeded(&mut self, now: u64) {
        self.schedule.succeeded(now);
        self.in_flight = None;
    }

    /// The service has not accepted the report, or the result is unknown.
    pub fn failed(&mut self, now: u64) {
        self.schedule.failed(now);
        self.request_full_sync();
        let Some(content) = self.in_flight.take() else {
            return;
        };
        for stream in content.closed.into_iter().rev() {
            if self.closed.len() < MAX_QUEUED {
                self.closed.push_front(stream);
            }
        }
        self.active.extend(content.active);
    }

    fn has_changes(&self) -> bool {
        !self.opened.is_empty()
            || !self.closed.is_empty()
            || !matches!(self.full_sync, FullSync::Idle)
    }

    /// The next opened streams, or the next part of the list.
    fn take_opened(
        &mut self,
        streams: &Streams,
        capacity: &mut usize,
    ) -> (Option<FullSyncPart>, Vec<OpenStream>) {
        let (mut remaining, first) = match std::mem::replace(&mut self.full_sync, FullSync::Idle) {
            FullSync::Idle => return (None, take(&mut self.opened, capacity)),
            FullSync::Requested => (streams.ids().collect(), true),
            FullSync::InProgress { remaining, first } => (remaining, first),
        };
        let mut opened = Vec::new();
        while *capacity > 0
            && let Some(id) = remaining.pop_front()
        {
            // A stream that has closed since the start of the list is left out.
            if let Some(stream) = streams.describe(id) {
                opened.push(stream);
                *capacity = capacity.saturating_sub(1);
            }
        }
        let part = match (first, remaining.is_empty()) {
            (true, true) => FullSyncPart::Whole,
            (true, false) => FullSyncPart::First,
            (false, false) => FullSyncPart::Middle,
            (false, true) => FullSyncPart::Last,
        };
        if !remaining.is_empty() {
            self.full_sync = FullSync::InProgress {
                remaining,
                first: false,
            };
        }
        (Some(part), opened)
    }
}

/// Takes items from the front while there is room.
fn take<T>(queue: &mut VecDeque<T>, capacity: &mut usize) -> Vec<T> {
    let batch: Vec<T> = queue.drain(..queue.len().min(*capacity)).collect();
    *capacity = capacity.saturating_sub(batch.len());
    batch
}

#[cfg(test)]
mod tests;
