//! What this process tells its gateways by itself, not through the event log: kept for a while, since a gateway
//! that is not asking right now will ask soon. May tell the same again; never forgets silently.

use berth_api::GatewayEvent;
use berth_store::{Cursor, LogId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Milliseconds for which something is kept.
const KEPT_MS: u64 = 60_000;
/// Events kept at the most; whoever has not heard one that had to go is told so.
const MAX: usize = 65_536;

/// What is to be told.
pub(super) struct Outbox {
    /// Names this process in cursors: numbers of another one say nothing here.
    era: LogId,
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    /// The number of the latest.
    newest: u64,
    /// The number of the latest that had to go before its time.
    dropped: u64,
    letters: VecDeque<Letter>,
}

struct Letter {
    number: u64,
    at_ms: u64,
    /// `None`: to everybody.
    to: Option<Arc<str>>,
    event: GatewayEvent,
}

/// What a gateway has not been told yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Letters {
    pub(super) events: Vec<GatewayEvent>,
    /// Something had to go before it could be told.
    pub(super) lost: bool,
    /// Where to go on.
    pub(super) next: Cursor,
}

impl Outbox {
    pub(super) fn new(era: LogId) -> Self {
        Self {
            era,
            kept: Mutex::default(),
            newest: watch::Sender::new(0),
        }
    }

    /// Changes with every event.
    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Tells one gateway, or all of them.
    pub(super) fn push(&self, to: Option<Arc<str>>, event: GatewayEvent, now_ms: u64) {
        let mut kept = self.lock();
        kept.forget_old(now_ms);
        if kept.letters.len() >= MAX
            && let Some(letter) = kept.letters.pop_front()
        {
            kept.dropped = letter.number;
        }
        kept.newest += 1;
        let number = kept.newest;
        kept.letters.push_back(Letter {
            number,
            at_ms: now_ms,
            to,
            event,
        });
        drop(kept);
        self.newest.send_replace(number);
    }

    /// What is there for a gateway after its place, at most `limit`. A gateway without a place in this
    /// process's outbox gets all that is kept.
    pub(super) fn after(
        &self,
        place: Option<Cursor>,
        gateway: &str,
        limit: usize,
        now_ms: u64,
    ) -> Letters {
        let mut kept = self.lock();
        kept.forget_old(now_ms);
        let place = place.filter(|place| place.log == self.era);
        let from = place.map_or(0, |place| place.sequence);
        let mut events = Vec::new();
        let mut next = kept.newest;
        for letter in kept.letters.iter().filter(|letter| letter.number > from) {
            if letter.to.as_deref().is_some_and(|to| to != gateway) {
                continue;
            }
            if events.len() >= limit {
                next = letter.number - 1;
                break;
            }
            events.push(letter.event.clone());
        }
        Letters {
            events,
            lost: place.is_some() && from < kept.dropped,
            next: Cursor {
                log: self.era,
                sequence: next,
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget_old(&mut self, now_ms: u64) {
        while self
            .letters
            .front()
            .is_some_and(|letter| letter.at_ms.saturating_add(KEPT_MS) <= now_ms)
        {
            self.letters.pop_front();
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
    fn everybody_gets_what_is_for_all_and_one_what_is_for_it() {
        let outbox = Outbox::new(LogId(7));
        outbox.push(None, drained("a"), 0);
        outbox.push(Some("g".into()), drained("b"), 1);
        outbox.push(None, drained("c"), 2);
        let all = outbox.after(None, "g", 9, 3);
        assert_eq!(all.events, [drained("a"), drained("b"), drained("c")]);
        assert_eq!(outbox.after(None, "h", 9, 3).events.len(), 2);
        // Page by page, and nothing twice.
        let first = outbox.after(None, "g", 2, 3);
        assert_eq!(first.events, [drained("a"), drained("b")]);
        let rest = outbox.after(Some(first.next), "g", 2, 3);
        assert_eq!(rest.events, [drained("c")]);
        assert_eq!(outbox.after(Some(rest.next), "g", 2, 3).events, []);
        // Of the process before.
        let other = Cursor {
            log: LogId(8),
            sequence: 99,
        };
        assert_eq!(outbox.after(Some(other), "h", 9, 3).events.len(), 2);
    }

    #[test]
    fn a_minute_later_it_is_forgotten_and_a_flood_is_told() {
        let outbox = Outbox::new(LogId(7));
        outbox.push(None, drained("a"), 0);
        let kept = outbox.after(None, "g", 9, KEPT_MS - 1);
        assert_eq!(kept.events.len(), 1);
        let later = outbox.after(None, "g", 9, KEPT_MS);
        assert_eq!((later.events.len(), later.lost), (0, false));
        for _ in 0..=MAX {
            outbox.push(None, drained("a"), KEPT_MS);
        }
        assert!(outbox.after(Some(kept.next), "g", 9, KEPT_MS).lost);
    }
}
