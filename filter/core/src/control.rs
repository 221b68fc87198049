//! One worker as a gateway: its open streams, its reports of them, and the events that it follows. At each tick the
//! host asks for the actions that are due and carries them out. Knows no host: the caller passes the time, in
//! milliseconds since 1970, and randomness.

mod answers;
pub mod call_stream;
pub mod events;
pub mod identity;
pub mod reporter;

use crate::control::events::{EventSubscription, Settings};
use crate::control::identity::Identity;
use crate::control::reporter::StreamReporter;
use crate::streams::EndObservation;
use crate::streams::{
    ActiveStream, DueActions, EndedSessions, FrameInterceptor, MAX_RESETS, PlacedRequests,
    PlacedStream, StreamSummary, Streams,
};
use berth_api::{CloseReason, ClosedStream, FailedEngine, GatewayReport, gateway_events_path};
use std::rc::Rc;

/// Maximum bytes of a response to a report or a poll.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Milliseconds between two ticks while there is something to do.
pub const ACTIVE_TICK_MS: u32 = 50;
/// Milliseconds between two ticks otherwise.
pub const IDLE_TICK_MS: u32 = 1_000;
/// Milliseconds from a tick that resets requests to the next one, which sends what is due.
pub const AFTER_RESETS_TICK_MS: u32 = 5;

/// What a gateway sends at a tick.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TickActions {
    /// The JSON of a poll, and the milliseconds that the service may hold it.
    pub poll: Option<(Vec<u8>, u32)>,
    /// The JSON of a report.
    pub report: Option<Vec<u8>>,
}

/// The cached tokens and cached engines that a response makes invalid.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Invalidation {
    /// Sessions that have ended.
    pub sessions: Vec<String>,
    /// Keys that have moved, each with its new epoch.
    pub moved_keys: Vec<(String, u64)>,
    /// Engines, each after its pool, that take no more requests.
    pub closed_engines: Vec<(String, String)>,
    /// Events may be missing: every cached token is dropped.
    pub all: bool,
}

/// The gateway of a worker.
pub struct Gateway {
    path: String,
    identity: Identity,
    /// New WebSockets are refused, because the service drains this Envoy.
    refusing: bool,
    streams: Streams,
    requests: PlacedRequests,
    reporter: StreamReporter,
    events: EventSubscription,
    ended: EndedSessions,
    /// The last tick sent a poll: if both are due, the next tick sends a report.
    polled: bool,
    /// The time of the last tick.
    last_tick: u64,
    /// The clock has moved back since the last response of the service.
    clock_was_set_back: bool,
}

impl Gateway {
    /// A gateway with a random name.
    #[must_use]
    pub fn new(name: u128, identity: Identity, settings: Settings, close_timeout_ms: u64) -> Self {
        Self {
            path: gateway_events_path(&format!("{name:032x}")),
            identity,
            refusing: false,
            streams: Streams::new(close_timeout_ms),
            requests: PlacedRequests::default(),
            reporter: StreamReporter::default(),
            events: EventSubscription::new(settings, seed(name)),
            ended: EndedSessions::default(),
            polled: false,
            last_tick: 0,
            clock_was_set_back: false,
        }
    }

    /// The path of its reports and polls.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the service has responded recently: only then may cached tokens be used.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        self.events.is_fresh(now)
    }

    /// Whether new WebSockets are refused, because this Envoy is drained.
    #[must_use]
    pub const fn is_refusing(&self) -> bool {
        self.refusing
    }

    /// Keeps the gateway polling for events for a while.
    pub fn want_events(&mut self, now: u64) {
        self.events.keep_alive(now);
    }

    /// Whether this session has ended recently.
    #[must_use]
    pub fn has_ended(&self, session_ref: &str) -> bool {
        self.ended.contains(session_ref)
    }

    /// The client of a session was active.
    pub fn active(&mut self, session_ref: &str, now: u64) {
        self.events.keep_alive(now);
        self.reporter.active(session_ref, now);
    }

    /// The client of a placed request or stream was active.
    pub fn active_at_engine(&mut self, active: &ActiveStream, now: u64) {
        self.active(&active.session_ref, now);
        if let Some(key) = &active.key {
            self.reporter.active_key(key, now);
        }
    }

    /// A plain request was sent to its engine; its session expires at `expires_at`.
    pub fn begin_request(&mut self, id: u32, session_ref: Rc<str>, expires_at: u64) {
        self.requests.begin(id, session_ref, expires_at);
    }

    /// An engine did not answer a plain request.
    pub fn engine_failed(&mut self, pool: &str, engine: &str) {
        self.reporter.engine_failed(FailedEngine {
            pool: pool.to_owned(),
            engine: engine.to_owned(),
        });
    }

    /// A plain request at an engine has ended.
    pub fn end_request(&mut self, id: u32) {
        self.requests.end(id);
    }

    /// Adds a stream that was sent to its engine. `random` is in `0.0..1.0`.
    pub fn open(
        &mut self,
        id: u32,
        placed: PlacedStream,
        now: u64,
        random: f64,
    ) -> FrameInterceptor {
        self.events.keep_alive(now);
        let interceptor = self.streams.open(id, placed, now, random);
        if let Some(stream) = self.streams.describe(id) {
            self.reporter.opened(id, stream);
        }
        interceptor
    }

    /// The close frame of a stream was sent.
    pub fn close_frame_sent(&mut self, id: u32, now: u64) {
        self.streams.close_frame_sent(id, now);
    }

    /// Why a stream ends, for the access log: see [`Streams::end_text`].
    #[must_use]
    pub fn end_text(&self, id: u32, observed: EndObservation<'_>) -> Option<String> {
        self.streams.end_text(id, observed)
    }

    /// Removes a stream that has ended; returns why it ended.
    pub fn close(&mut self, id: u32, now: u64, summary: StreamSummary) -> Option<CloseReason> {
        let closed = self.streams.close(id, now, summary)?;
        let reason = closed.reason;
        self.reporter.closed(closed);
        Some(reason)
    }

    /// Releases the placement of a stream that will not open.
    pub fn release_placement(&mut self, stream: String) {
        self.reporter.closed(ClosedStream {
            stream,
            reason: CloseReason::Refused,
            duration_ms: 0,
            bytes_received: 0,
            bytes_sent: 0,
            close_code: None,
        });
    }

    /// Begins a tick, before [`Self::tick_actions`]: the streams to reset.
    pub fn begin_tick(&mut self, now: u64) -> DueActions {
        if now < self.last_tick {
            let moved_back_ms = self.last_tick.saturating_sub(now);
            self.streams.clock_moved_back(moved_back_ms);
            self.reporter.clock_moved_back(now);
            self.events.clock_moved_back(now);
            self.clock_was_set_back = true;
        }
        self.last_tick = now;
        let mut actions = self.streams.due(now);
        let capacity = MAX_RESETS.saturating_sub(actions.resets.len());
        actions.resets.extend(self.requests.due(now, capacity));
        actions
    }

    /// What to send now. A poll and a report are not sent in the same tick, so that the service receives their
    /// sequence numbers in order.
    pub fn tick_actions(&mut self, now: u64) -> TickActions {
        let at_engines = !self.streams.is_empty() || !self.requests.is_empty();
        if at_engines || self.reporter.is_pending() {
            self.events.keep_alive(now);
        }
        self.ended.remove_expired(now);
        if self.events.is_timed_out(now) {
            self.events.failed(now);
        }
        let mut actions = TickActions::default();
        let may_report = std::mem::take(&mut self.polled) || !self.events.is_due(now);
        if may_report && self.events.is_subscribed() {
            let report = self.reporter.next(&self.streams, now);
            actions.report = report.as_ref().and_then(json);
        }
        if actions.report.is_none() && self.events.is_due(now) {
            let (cursor, poll_timeout_ms) = self.events.started(now);
            // The first poll asks for the end of the log and returns at once; only later ones wait for events.
            self.polled = poll_timeout_ms > 0;
            let poll = json(&GatewayReport {
                sequence: self.reporter.number(),
                identity: Some(self.identity.describe(now, self.refusing)),
                cursor: Some(cursor),
                poll_timeout_ms,
                ..GatewayReport::default()
            });
            actions.poll = poll.map(|body| (body, poll_timeout_ms));
        }
        actions
    }

    /// Milliseconds until the next tick. While calls fail, ticks stay frequent so that a retry is on time. Without other
    /// work, the next tick comes when the next stream is due: a drain then closes its streams one after the other, not
    /// in groups.
    #[must_use]
    pub fn period_ms(&self, now: u64) -> u32 {
        let is_ending = self.streams.is_closing() || self.requests.has_ended();
        let active = is_ending || self.reporter.is_pending() || self.events.is_due(now);
        if active || (self.events.failures() > 0 && self.events.is_active(now)) {
            return ACTIVE_TICK_MS;
        }
        let wait = self.streams.next_end_at().map(|at| at.saturating_sub(now));
        let wait = wait.and_then(|wait| u32::try_from(wait).ok());
        wait.map_or(IDLE_TICK_MS, |wait| {
            wait.clamp(ACTIVE_TICK_MS, IDLE_TICK_MS)
        })
    }
}

/// The seed of a worker's jitter, from its random name.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    reason = "half of the bits are enough"
)]
pub const fn seed(name: u128) -> u64 {
    name as u64
}

fn json(report: &GatewayReport) -> Option<Vec<u8>> {
    serde_json::to_vec(report).ok()
}

#[cfg(test)]
mod tests;
