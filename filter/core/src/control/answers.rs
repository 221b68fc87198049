//! What the service's answers to polls and reports mean for a gateway: which streams end, and what caches must drop.
//! Knows no host.

use super::{Gateway, Invalidation, MAX_ANSWER_BYTES};
use crate::streams::DrainTarget;
use berth_api::{CloseReason, GatewayAnswer, GatewayEvent};

impl Gateway {
    /// A poll has ended, with this body or without a response. `random` is in `0.0..1.0`. `None` when the response is
    /// missing or invalid.
    pub fn on_poll(
        &mut self,
        answer: Option<&[u8]>,
        now: u64,
        random: f64,
    ) -> Option<Invalidation> {
        let Some(answer) = answer.and_then(parse) else {
            self.events.failed(now);
            return None;
        };
        let is_first = !self.events.is_subscribed();
        if !self.events.answered(now, answer.cursor) {
            return None;
        }
        // Before the first poll sessions may have ended without an event. A token that was cached by a later clock
        // would be used for too long.
        let mut invalidation = Invalidation {
            all: answer.resync || is_first || std::mem::take(&mut self.clock_was_set_back),
            ..Invalidation::default()
        };
        if answer.resync {
            self.reporter.request_full_sync();
        }
        for event in answer.events {
            self.apply(event, now, random, &mut invalidation);
        }
        self.requests.end_sessions(&invalidation.sessions);
        Some(invalidation)
    }

    /// Applies an event; adds what caches must drop.
    fn apply(
        &mut self,
        event: GatewayEvent,
        now: u64,
        random: f64,
        invalidation: &mut Invalidation,
    ) {
        match event {
            GatewayEvent::SessionEnded {
                session_ref,
                reason,
            } => {
                self.ended.insert(&session_ref, now);
                let reason = match reason {
                    CloseReason::Expired => reason,
                    _ => CloseReason::Revoked,
                };
                self.streams.end_session(&session_ref, reason, now);
                invalidation.sessions.push(session_ref);
            }
            GatewayEvent::StreamEnded { stream } => self.streams.end_stream(&stream, now),
            GatewayEvent::KeyMoved { key, epoch } => invalidation.moved_keys.push((key, epoch)),
            GatewayEvent::EngineClosed { pool, engine } => {
                invalidation.closed_engines.push((pool, engine));
            }
            GatewayEvent::EngineDrained {
                pool,
                engine,
                over_ms,
            } => {
                let (pool, engine) = (pool.as_str(), engine.as_str());
                let target = DrainTarget::Engine { pool, engine };
                self.streams.drain(target, over_ms, now, random);
            }
            GatewayEvent::EngineUndrained { pool, engine } => {
                self.streams.end_engine_drain(&pool, &engine);
            }
            GatewayEvent::GatewayDrained { over_ms, refuse } => {
                self.refusing = refuse;
                let target = DrainTarget::Gateway;
                self.streams.drain(target, over_ms, now, random);
            }
            GatewayEvent::GatewayUndrained => self.refusing = false,
            GatewayEvent::Unknown => {}
        }
    }

    /// A report has ended, with this body or without a response. `None` when the response is missing or invalid.
    pub fn on_report(&mut self, answer: Option<&[u8]>, now: u64) -> Option<Invalidation> {
        let Some(answer) = answer.and_then(parse) else {
            self.reporter.failed(now);
            return None;
        };
        self.reporter.succeeded(now);
        if answer.resync {
            self.reporter.request_full_sync();
        }
        Some(Invalidation {
            all: answer.resync,
            ..Invalidation::default()
        })
    }
}

fn parse(body: &[u8]) -> Option<GatewayAnswer> {
    (body.len() <= MAX_ANSWER_BYTES)
        .then(|| serde_json::from_slice(body).ok())
        .flatten()
}
