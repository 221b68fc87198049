//! The state behind the lock of one engine's accounting: the streams that count, in the order in which they expire and
//! in which probes see them, and the engine's circuit breaker. What each event changes is decided in `accounting`.

use super::dirty_set::Subscription;
use super::ledger_entry::LedgerEntry;
use super::pending_cost::{CostEstimate, PendingCost};
use super::queue::{Queue, Ticket};
use super::remote_sessions::RemoteSessions;
use super::stream_counts::StreamSlot;
use crate::circuit_breaker::CircuitBreaker;
use crate::cost::{Cost, CostKey, PoolCosts};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A stream that counts.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) since: Instant,
    /// Its place among the unconfirmed streams.
    pub(super) unconfirmed: Ticket,
    /// Its place among the unprobed streams.
    pub(super) unprobed: Ticket,
    /// Counts for the login session until the entry is dropped. `None`: the streams of the session have no limit.
    pub(super) _slot: Option<StreamSlot>,
}

/// When a stream closed: gateways report it later.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClosedStream {
    pub(super) earliest: Instant,
    pub(super) latest: Instant,
}

#[derive(Debug, Default)]
pub(super) struct AccountingState {
    /// Reservations that are held: placements under way.
    pub(super) pending: u32,
    /// By name: placements, which expire, and streams that gateways have reported, which are bounded. Berth makes the
    /// names and the hash is seeded, so a fast hash is enough.
    pub(super) streams: HashMap<Arc<str>, Stream, RandomState>,
    /// Streams that no gateway has reported yet, and since when they count.
    pub(super) unconfirmed: Queue<(Instant, Arc<str>)>,
    /// Streams that the last probe cannot have seen: since when they count, and their estimated cost.
    pub(super) unprobed: Queue<(Instant, CostEstimate)>,
    /// Streams that have closed since the last probe saw them: never more than the probe saw.
    pub(super) closed: Vec<ClosedStream>,
    /// Sessions that the last probe saw.
    pub(super) probed: u32,
    /// When the last probe began.
    pub(super) probed_at: Option<Instant>,
    /// Number of the placement that last chose this engine.
    pub(super) turn: u64,
    pub(super) circuit_breaker: CircuitBreaker,
    /// An operator drains it: it gets no new session.
    pub(super) draining: bool,
    /// When it became ready, if that was seen.
    pub(super) up_since: Option<Instant>,
    pub(super) pending_cost: PendingCost,
    pub(super) remote: RemoteSessions,
    /// `None` until a scheduler has the engine.
    pub(super) subscription: Option<Subscription>,
    /// What sessions cost in the pool; `None` until a scheduler has the engine.
    pub(super) pool_costs: Option<Arc<PoolCosts>>,
}

impl AccountingState {
    /// When the next placement expires or the circuit breaker becomes half-open, after `now`.
    pub(super) fn valid_until(&self, ttl: Duration, now: Instant) -> Option<Instant> {
        let expiry = self.unconfirmed.first().map(|(since, _)| *since + ttl);
        let trial = self
            .circuit_breaker
            .trial_at()
            .filter(|trial_at| *trial_at > now);
        expiry.into_iter().chain(trial).min()
    }

    /// Adds a stream that no probe has seen.
    pub(super) fn add_unprobed(&mut self, since: Instant, estimate: CostEstimate) -> Ticket {
        self.pending_cost.placed(&estimate);
        self.unprobed.push((since, estimate))
    }

    /// Removes a stream from the unprobed ones; `false` when a probe has seen it.
    pub(super) fn remove_unprobed(&mut self, unprobed: Ticket) -> bool {
        let Some((_, estimate)) = self.unprobed.take(unprobed) else {
            return false;
        };
        self.pending_cost
            .remove(&estimate, self.unprobed.is_empty());
        true
    }

    /// A probe has seen the first `max` unprobed streams whose time `is_before_probe`. Returns their estimated costs.
    pub(super) fn take_probed(
        &mut self,
        is_before_probe: impl Fn(Instant) -> bool,
        max: usize,
    ) -> Vec<CostEstimate> {
        let probed = self
            .unprobed
            .take_first(max, |(since, _)| is_before_probe(*since));
        let estimates: Vec<CostEstimate> =
            probed.into_iter().map(|(_, estimate)| estimate).collect();
        for estimate in &estimates {
            self.pending_cost.remove(estimate, self.unprobed.is_empty());
        }
        estimates
    }

    /// Removes placements that no gateway has reported open within `ttl`.
    pub(super) fn expire(&mut self, ttl: Duration, now: Instant, ledger: Option<&LedgerEntry>) {
        while let Some((_, name)) = self.unconfirmed.pop_if(|(since, _)| *since + ttl <= now) {
            if let Some(stream) = self.streams.remove(&name) {
                self.remove_unprobed(stream.unprobed);
            }
            if let Some(ledger) = ledger {
                ledger.released(&name);
            }
        }
    }

    /// Counts one more reservation, made by placement number `turn`.
    pub(super) fn acquire(&mut self, turn: u64, key: CostKey) -> CostEstimate {
        self.pending = self.pending.saturating_add(1);
        self.turn = turn;
        let costs = self.pool_costs.as_ref();
        let in_pool = || costs.map_or_else(Cost::default, |costs| costs.estimate(key));
        let estimate = self.pending_cost.estimate(key, in_pool);
        self.pending_cost.begin(&estimate);
        estimate
    }

    /// A reservation has ended.
    pub(super) fn release(&mut self, estimate: &CostEstimate) {
        self.pending = self.pending.saturating_sub(1);
        self.pending_cost.end(estimate);
    }
}
