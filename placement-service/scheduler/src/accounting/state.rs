//! What is written in the books of one engine: the streams that count, in the order in which they lapse and in
//! which probes see them, and what is held against the engine.

use super::ledger_entry::Account;
use super::pending_cost::{Coming, Expected};
use super::queue::{Queue, Ticket};
use super::remote_sessions::Elsewhere;
use super::stream_counts::StreamSlot;
use crate::circuit_breaker::Suspicion;
use crate::cost::{Cost, Kind, PoolCosts};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A stream that counts.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) since: Instant,
    /// Among those that no gateway has reported yet.
    pub(super) waiting: Ticket,
    /// Among those that the last probe cannot have seen.
    pub(super) unseen: Ticket,
    /// Ends with the entry. `None`: nobody limits the streams of its session.
    pub(super) _slot: Option<StreamSlot>,
}

/// When a stream closed: a gateway tells it a while after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// At the earliest.
    pub(super) since: Instant,
    /// At the latest.
    pub(super) told: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    /// Handles alive: placements under way.
    pub(super) pending: u32,
    /// By name: placements, which lapse, and streams that gateways have reported, which are bounded. Names are made by us and the hash is seeded: it needs no more strength.
    pub(super) streams: HashMap<Arc<str>, Stream, RandomState>,
    /// Those that no gateway has reported yet, and since when they count.
    pub(super) waiting: Queue<(Instant, Arc<str>)>,
    /// Those that the last probe cannot have seen: since when they count, and what they are expected to cost.
    pub(super) unseen: Queue<(Instant, Expected)>,
    /// Those that have closed although the last probe has seen them: not more than it has seen.
    pub(super) left: Vec<Left>,
    /// Sessions that the last probe saw.
    pub(super) probed: u32,
    /// When it began.
    pub(super) probed_at: Option<Instant>,
    /// The turn in which round-robin last chose this engine.
    pub(super) turn: u64,
    pub(super) suspicion: Suspicion,
    /// It is to get nothing new.
    pub(super) draining: bool,
    /// When it came up, if that was seen.
    pub(super) up_since: Option<Instant>,
    pub(super) coming: Coming,
    pub(super) elsewhere: Elsewhere,
    /// What sessions cost in the pool; `None` until a scheduler has the engine.
    pub(super) pool_costs: Option<Arc<PoolCosts>>,
}

impl Books {
    /// A stream that no probe has seen.
    pub(super) fn expect(&mut self, since: Instant, expected: Expected) -> Ticket {
        self.coming.placed(&expected);
        self.unseen.push((since, expected))
    }

    /// The stream is gone; `false` when a probe had seen it before.
    pub(super) fn expect_no_more(&mut self, unseen: Ticket) -> bool {
        let Some((_, expected)) = self.unseen.take(unseen) else {
            return false;
        };
        self.coming.gone(&expected, self.unseen.is_empty());
        true
    }

    /// A probe has seen the first streams that it had not seen before: those of such a time, and so many
    /// at the most.
    pub(super) fn see(&mut self, of: impl Fn(Instant) -> bool, most: usize) -> Vec<Expected> {
        let seen = self.unseen.take_first(most, |(since, _)| of(*since));
        let seen: Vec<Expected> = seen.into_iter().map(|(_, expected)| expected).collect();
        for expected in &seen {
            self.coming.gone(expected, self.unseen.is_empty());
        }
        seen
    }

    /// Placements whose clients have not come in time count no more.
    pub(super) fn lapse(&mut self, ttl: Duration, now: Instant, account: Option<&Account>) {
        while let Some((_, name)) = self.waiting.pop_if(|(since, _)| *since + ttl <= now) {
            if let Some(stream) = self.streams.remove(&name) {
                self.expect_no_more(stream.unseen);
            }
            if let Some(account) = account {
                account.released(&name);
            }
        }
    }

    /// One more handle, in that turn.
    pub(super) fn take_on(&mut self, turn: u64, kind: Kind) -> Expected {
        self.pending = self.pending.saturating_add(1);
        self.turn = turn;
        let costs = self.pool_costs.as_ref();
        let guess = || costs.map_or_else(Cost::default, |costs| costs.guess(kind));
        let expected = self.coming.expect(kind, guess);
        self.coming.begin(&expected);
        expected
    }

    /// A handle is no more.
    pub(super) fn give_back(&mut self, expected: &Expected) {
        self.pending = self.pending.saturating_sub(1);
        self.coming.end(expected);
    }
}
