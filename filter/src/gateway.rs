//! One worker as a gateway: its open streams, what it reports of them, and the feed of events that it
//! acts upon. The host asks at each tick what there is to do, and does it. Knows no host; it is told the
//! time, in milliseconds since 1970, and gets its randomness as an argument.

use crate::feed::{Feed, Settings};
use crate::placement::Placed;
use crate::reports::Reports;
use crate::streams::{Due, Ended, Ending, Streams, Tap};
use berth_api::{
    CloseReason, ClosedStream, GatewayAnswer, GatewayEvent, GatewayReport, gateway_events_path,
};

/// Bytes of an answer to a report or a poll at the most.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Milliseconds between two ticks: while there is something to do, and else.
pub const BUSY_MS: u32 = 50;
/// See [`BUSY_MS`].
pub const IDLE_MS: u32 = 1_000;

/// Milliseconds from a tick that has reset requests to the next one, which sends what is due.
pub const AFTER_RESETS_MS: u32 = 5;

/// What a gateway is to send at a tick.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The JSON of a poll to send, and the milliseconds that it is held.
    pub poll: Option<(Vec<u8>, u32)>,
    /// The JSON of a report to send.
    pub report: Option<Vec<u8>>,
}

/// What the tokens that are cached have to hear.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Sessions that are over.
    pub ended: Vec<String>,
    /// Events may be missing: every cached token goes.
    pub lost: bool,
}

/// A worker's gateway.
pub struct Gateway {
    path: String,
    streams: Streams,
    reports: Reports,
    feed: Feed,
    ended: Ended,
    /// The last tick had a poll: the next one has a report, should both be due.
    polled: bool,
    /// The time of the last tick.
    ticked: u64,
    /// The clock has been set back since the service was last heard.
    was_set_back: bool,
}

impl Gateway {
    /// A gateway with a name of its own, made of random bits.
    #[must_use]
    pub fn new(name: u128, settings: Settings, grace_ms: u64) -> Self {
        Self {
            path: gateway_events_path(&format!("{name:032x}")),
            streams: Streams::new(grace_ms),
            reports: Reports::default(),
            feed: Feed::new(settings, seed(name)),
            ended: Ended::default(),
            polled: false,
            ticked: 0,
            was_set_back: false,
        }
    }

    /// The path of its reports and polls.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the service has been heard lately (S36): what is cached may be used.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        self.feed.is_fresh(now)
    }

    /// Somebody relies on events: they are asked for from now on.
    pub fn want_events(&mut self, now: u64) {
        self.feed.want(now);
    }

    /// Whether this session is known to be over.
    #[must_use]
    pub fn has_ended(&self, session_ref: &str) -> bool {
        self.ended.has(session_ref)
    }

    /// A session's client has done something (S12).
    pub fn active(&mut self, session_ref: &str, now: u64) {
        self.feed.want(now);
        self.reports.active(session_ref, now);
    }

    /// A stream has been sent to its engine. `random` is one of `0.0..1.0`.
    pub fn open(&mut self, id: u32, placed: Placed, now: u64, random: f64) -> Tap {
        self.feed.want(now);
        let tap = self.streams.open(id, placed, now, random);
        if let Some(stream) = self.streams.describe(id) {
            self.reports.opened(id, stream);
        }
        tap
    }

    /// A stream's close frame is on its way.
    pub fn closing(&mut self, id: u32, now: u64) {
        self.streams.closing(id, now);
    }

    /// A stream is over: why.
    pub fn close(&mut self, id: u32, now: u64, ending: Ending) -> Option<CloseReason> {
        let closed = self.streams.close(id, now, ending)?;
        let reason = closed.reason;
        self.reports.closed(closed);
        Some(reason)
    }

    /// A stream was placed that never opens: nobody makes use of its place.
    pub fn unused(&mut self, stream: String) {
        self.reports.closed(ClosedStream {
            stream,
            reason: CloseReason::Refused,
            duration_ms: 0,
            bytes_received: 0,
            bytes_sent: 0,
        });
    }

    /// Begins a tick, before [`Self::work`]: the streams to be cut off.
    pub fn begin_tick(&mut self, now: u64) -> Due {
        if now < self.ticked {
            self.streams.set_back(self.ticked.saturating_sub(now));
            self.reports.set_back(now);
            self.feed.set_back(now);
            self.was_set_back = true;
        }
        self.ticked = now;
        self.streams.due(now)
    }

    /// What there is to send now. A poll and a report do not start in the same tick: the service should see
    /// their numbers in order.
    pub fn work(&mut self, now: u64) -> Work {
        if !self.streams.is_empty() || self.reports.is_pending() {
            self.feed.want(now);
        }
        self.ended.forget(now);
        if self.feed.is_lost(now) {
            self.feed.failed(now);
        }
        let mut work = Work::default();
        let turn = std::mem::take(&mut self.polled) || !self.feed.is_due(now);
        if turn && self.feed.has_begun() {
            let report = self.reports.next(&self.streams, now);
            work.report = report.as_ref().and_then(json);
        }
        if work.report.is_none() && self.feed.is_due(now) {
            let (cursor, hold_ms) = self.feed.started(now);
            // The first one asks where the log is, and only the next one waits for events.
            self.polled = hold_ms > 0;
            let poll = json(&GatewayReport {
                sequence: self.reports.number(),
                cursor: Some(cursor),
                hold_ms,
                ..GatewayReport::default()
            });
            work.poll = poll.map(|body| (body, hold_ms));
        }
        work
    }

    /// Milliseconds until the next tick. Between failures there is nothing to hurry for.
    #[must_use]
    pub fn period_ms(&self, now: u64) -> u32 {
        let busy = self.streams.is_closing() || self.reports.is_pending() || self.feed.is_due(now);
        if busy || (self.feed.failures() > 0 && self.feed.is_wanted(now)) {
            BUSY_MS
        } else {
            IDLE_MS
        }
    }

    /// A poll has ended: with this answer, or with none. `random` is one of `0.0..1.0`. `None` when there was
    /// no sound answer.
    pub fn on_poll(&mut self, answer: Option<&[u8]>, now: u64, random: f64) -> Option<Told> {
        let Some(answer) = answer.and_then(read) else {
            self.feed.failed(now);
            return None;
        };
        let begins = !self.feed.has_begun();
        if !self.feed.answered(now, answer.cursor) {
            return None;
        }
        // What was cached before the feed began may have ended unheard; what was cached by another time would be
        // used for too long.
        let mut told = Told {
            lost: answer.resync || begins || std::mem::take(&mut self.was_set_back),
            ..Told::default()
        };
        if answer.resync {
            self.reports.list();
        }
        for event in answer.events {
            match event {
                GatewayEvent::SessionEnded {
                    session_ref,
                    reason,
                } => {
                    self.ended.note(&session_ref, now);
                    let reason = match reason {
                        CloseReason::Expired => reason,
                        _ => CloseReason::Revoked,
                    };
                    self.streams.end_session(&session_ref, reason, now);
                    told.ended.push(session_ref);
                }
                GatewayEvent::EngineDrained {
                    pool,
                    engine,
                    over_ms,
                } => self.streams.drain(&pool, &engine, over_ms, now, random),
                GatewayEvent::Unknown => {}
            }
        }
        Some(told)
    }

    /// A report has ended: with this answer, or with none. `None` when there was no sound answer.
    pub fn on_report(&mut self, answer: Option<&[u8]>, now: u64) -> Option<Told> {
        let Some(answer) = answer.and_then(read) else {
            self.reports.failed(now);
            return None;
        };
        self.reports.succeeded(now);
        if answer.resync {
            self.reports.list();
        }
        let lost = answer.resync;
        Some(Told {
            lost,
            ..Told::default()
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

fn read(body: &[u8]) -> Option<GatewayAnswer> {
    (body.len() <= MAX_ANSWER_BYTES)
        .then(|| serde_json::from_slice(body).ok())
        .flatten()
}

fn json(report: &GatewayReport) -> Option<Vec<u8>> {
    serde_json::to_vec(report).ok()
}

#[cfg(test)]
mod tests;
