//! Events that this process sends to its gateways other than through the event log. They are kept for a while, since
//! a gateway may be between two polls. A gateway may receive an event twice, and is notified if it missed one.

use berth_api::GatewayEvent;
use berth_store::{Cursor, LogId};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// How long an event is kept, in milliseconds.
const RETENTION_MS: u64 = 60_000;
/// Maximum number of events kept. A gateway that has not received a dropped one is notified of the loss.
const MAX_EVENTS: usize = 65_536;

/// The queue of events to send.
pub(super) struct Outbox {
    /// Identifies this process in cursors: the sequence numbers of another process are meaningless here.
    epoch: LogId,
    state: Mutex<State>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// The number of the latest event.
    newest: u64,
    /// The number of the latest event that was dropped before its retention ended.
    dropped: u64,
    events: VecDeque<OutboxEvent>,
}

struct OutboxEvent {
    number: u64,
    at_ms: u64,
    /// `None`: for every gateway.
    to: Option<Arc<str>>,
    event: GatewayEvent,
}

/// The events that a gateway has not received yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnreadEvents {
    pub(super) events: Vec<GatewayEvent>,
    /// An event was dropped before the gateway received it.
    pub(super) lost: bool,
    /// Where the gateway continues.
    pub(super) next: Cursor,
}

impl Outbox {
    pub(super) fn new(epoch: LogId) -> Self {
        Self {
            epoch,
            state: Mutex::default(),
            newest: watch::Sender::new(0),
        }
    }

    /// Changes with every event.
    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Adds an event for one gateway, or for all of them.
    pub(super) fn push(&self, gateway: Option<Arc<str>>, event: GatewayEvent, now_ms: u64) {
        let mut state = self.lock();
        state.remove_expired(now_ms);
        if state.events.len() >= MAX_EVENTS
            && let Some(oldest) = state.events.pop_front()
        {
            state.dropped = oldest.number;
        }
        state.newest += 1;
        let number = state.newest;
        state.events.push_back(OutboxEvent {
            number,
            at_ms: now_ms,
            to: gateway,
            event,
        });
        drop(state);
        self.newest.send_replace(number);
    }

    /// The events for a gateway after its cursor, at most `limit`. A gateway without a cursor of this process's outbox
    /// receives all that are kept.
    pub(super) fn read_after(
        &self,
        cursor: Option<Cursor>,
        gateway: &str,
        limit: usize,
        now_ms: u64,
    ) -> UnreadEvents {
        let mut state = self.lock();
        state.remove_expired(now_ms);
        let cursor = cursor.filter(|cursor| cursor.log == self.epoch);
        let first_number = cursor.map_or(0, |cursor| cursor.sequence);
        let mut events = Vec::new();
        let mut next = state.newest;
        let unread = |queued: &&OutboxEvent| queued.number > first_number;
        for queued in state.events.iter().filter(unread) {
            if queued
                .to
                .as_deref()
                .is_some_and(|recipient| recipient != gateway)
            {
                continue;
            }
            if events.len() >= limit {
                next = queued.number - 1;
                break;
            }
            events.push(queued.event.clone());
        }
        UnreadEvents {
            events,
            lost: cursor.is_some() && first_number < state.dropped,
            next: Cursor {
                log: self.epoch,
                sequence: next,
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn remove_expired(&mut self, now_ms: u64) {
        while self
            .events
            .front()
            .is_some_and(|event| event.at_ms.saturating_add(RETENTION_MS) <= now_ms)
        {
            self.events.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(engine: &str) -> GatewayEvent {
        GatewayEvent::EngineDrained {
            pool: "p".to_owned(),
            engine: engine.to_owned(),
            over_ms: 1,
        }
    }

    #[test]
    fn a_gateway_receives_events_for_all_and_for_itself() {
        let outbox = Outbox::new(LogId(7));
        outbox.push(None, drained("a"), 0);
        outbox.push(Some("g".into()), drained("b"), 1);
        outbox.push(None, drained("c"), 2);
        let all = outbox.read_after(None, "g", 9, 3);
        assert_eq!(all.events, [drained("a"), drained("b"), drained("c")]);
        assert_eq!(outbox.read_after(None, "h", 9, 3).events.len(), 2);
        // In pages, without duplicates.
        let first = outbox.read_after(None, "g", 2, 3);
        assert_eq!(first.events, [drained("a"), drained("b")]);
        let remaining = outbox.read_after(Some(first.next), "g", 2, 3);
        assert_eq!(remaining.events, [drained("c")]);
        assert_eq!(
            outbox.read_after(Some(remaining.next), "g", 2, 3).events,
            []
        );
        // The cursor of the previous process.
        let other = Cursor {
            log: LogId(8),
            sequence: 99,
        };
        assert_eq!(outbox.read_after(Some(other), "h", 9, 3).events.len(), 2);
    }

    #[test]
    fn events_are_forgotten_after_a_minute_and_dropped_ones_are_reported_as_lost() {
        let outbox = Outbox::new(LogId(7));
        outbox.push(None, drained("a"), 0);
        let events = outbox.read_after(None, "g", 9, RETENTION_MS - 1);
        assert_eq!(events.events.len(), 1);
        let after_expiry = outbox.read_after(None, "g", 9, RETENTION_MS);
        assert_eq!((after_expiry.events.len(), after_expiry.lost), (0, false));
        for _ in 0..=MAX_EVENTS {
            outbox.push(None, drained("a"), RETENTION_MS);
        }
        assert!(
            outbox
                .read_after(Some(events.next), "g", 9, RETENTION_MS)
                .lost
        );
    }
}
