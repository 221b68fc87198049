//! What a gateway reports to the placement service: opened and closed streams, active sessions and keys, in batches; and
//! the list of all open streams, in parts, when the service asks for it. The content of a failed report is sent again.
//! Knows no host; times are milliseconds of any clock.

mod activity;

use crate::retry::RetrySchedule;
use crate::streams::Streams;
use activity::Activity;
use berth_api::{
    ClosedStream, FailedEngine, FullSyncPart, GatewayReport, MAX_REPORT_ENTRIES, OpenStream,
};
use std::collections::VecDeque;
use std::rc::Rc;

/// Minimum milliseconds between two reports.
const INTERVAL_MS: u64 = 250;
/// Maximum sessions and keys whose last report is remembered, and maximum streams that wait to be reported. Beyond that
/// a session is reported early, the oldest closed stream is dropped, and open streams are listed again.
const MAX_QUEUED: usize = 20_000;
/// Maximum engines of a report that did not answer a request; further ones are reported when a request fails again.
const MAX_FAILED_ENGINES: usize = 100;
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
    sessions: Activity,
    keys: Activity,
    /// Each once.
    failed_engines: Vec<FailedEngine>,
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
    sessions: Vec<Rc<str>>,
    keys: Vec<Rc<str>>,
    failed_engines: Vec<FailedEngine>,
}

impl Default for StreamReporter {
    fn default() -> Self {
        Self {
            sequence: 0,
            schedule: RetrySchedule::new(INTERVAL_MS, MAX_BACK_OFF_MS, TIMEOUT_MS),
            opened: VecDeque::new(),
            closed: VecDeque::new(),
            sessions: Activity::default(),
            keys: Activity::default(),
            failed_engines: Vec::new(),
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
        self.sessions.add(session_ref, now);
    }

    /// A client of a key was active.
    pub fn active_key(&mut self, key: &str, now: u64) {
        self.keys.add(key, now);
    }

    /// An engine did not answer a request.
    pub fn engine_failed(&mut self, engine: FailedEngine) {
        let is_new = !self.failed_engines.contains(&engine);
        if is_new && self.failed_engines.len() < MAX_FAILED_ENGINES {
            self.failed_engines.push(engine);
        }
    }

    /// The clock has moved back: the age of the last reports is unknown.
    pub fn clock_moved_back(&mut self, now: u64) {
        self.sessions.clock_moved_back(now);
        self.keys.clock_moved_back(now);
    }

    /// The next reports contain the list of all streams.
    pub fn request_full_sync(&mut self) {
        self.full_sync = FullSync::Requested;
        self.opened.clear();
    }

    /// Whether there is anything to report, now or soon.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.has_changes() || self.sessions.is_pending() || self.keys.is_pending()
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
        let is_active_due = self.sessions.is_due(now) || self.keys.is_due(now);
        if !self.schedule.is_due(now) || !(self.has_changes() || is_active_due) {
            return None;
        }
        self.schedule.started(now);
        let mut capacity = MAX_REPORT_ENTRIES;
        let (full_sync, opened) = self.take_opened(streams, &mut capacity);
        let closed: Vec<ClosedStream> = take(&mut self.closed, &mut capacity);
        let sessions = self.sessions.take(&mut capacity);
        let keys = self.keys.take(&mut capacity);
        let failed_engines = std::mem::take(&mut self.failed_engines);
        let report = GatewayReport {
            sequence: self.number(),
            full: full_sync,
            opened,
            active: to_strings(&sessions),
            active_keys: to_strings(&keys),
            failed_engines: failed_engines.clone(),
            closed: closed.clone(),
            ..GatewayReport::default()
        };
        self.in_flight = Some(ReportContent {
            closed,
            sessions,
            keys,
            failed_engines,
        });
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
        self.sessions.put_back(content.sessions);
        self.keys.put_back(content.keys);
        for engine in content.failed_engines {
            self.engine_failed(engine);
        }
    }

    fn has_changes(&self) -> bool {
        let has_queued = !self.opened.is_empty() || !self.closed.is_empty();
        has_queued || !self.failed_engines.is_empty() || !matches!(self.full_sync, FullSync::Idle)
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

fn to_strings(names: &[Rc<str>]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// Takes items from the front while there is room.
fn take<T>(queue: &mut VecDeque<T>, capacity: &mut usize) -> Vec<T> {
    let batch: Vec<T> = queue.drain(..queue.len().min(*capacity)).collect();
    *capacity = capacity.saturating_sub(batch.len());
    batch
}

#[cfg(test)]
mod tests;
