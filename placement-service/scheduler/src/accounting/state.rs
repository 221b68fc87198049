//! The state behind the lock of one engine's accounting: the streams that count, in the order in which they expire and
//! in which probes see them, and the engine's circuit breaker. What each event changes is decided in `accounting`.

mod keys;
mod sessions;

use super::SessionLifetime;
use super::dirty_set::Subscription;
use super::ledger_entry::LedgerEntry;
use super::pending_cost::{CostEstimate, PendingCost};
use super::queue::{Queue, Ticket};
use super::remote_sessions::RemoteSessions;
use super::stream_counts::StreamSlot;
use crate::circuit_breaker::CircuitBreaker;
use crate::cost::{Cost, CostKey, PoolCosts};
use foldhash::fast::RandomState;
pub(super) use keys::KeyEntry;
use sessions::SessionEntry;
pub(super) use sessions::SessionId;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A stream of an engine session.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) since: Instant,
    /// Its place among the unconfirmed streams.
    pub(super) unconfirmed: Ticket,
    /// The session that it belongs to.
    pub(super) session: SessionId,
    /// Counts for the login session until the entry is dropped. `None`: the streams of the session have no limit.
    pub(super) _slot: Option<StreamSlot>,
}

/// When a stream closed: gateways report it later.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClosedStream {
    pub(super) earliest: Instant,
    pub(super) latest: Instant,
}

/// What makes streams and sessions expire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry<'a> {
    /// How long a placement counts that no gateway has reported open.
    pub(super) ttl: Duration,
    pub(super) lifetime: &'a SessionLifetime,
    pub(super) ledger: Option<&'a LedgerEntry>,
}

#[derive(Debug, Default)]
pub(super) struct AccountingState {
    /// Reservations of new sessions that are held: placements under way.
    pub(super) pending: u32,
    /// By name: placements, which expire, and streams that gateways have reported, which are bounded. Berth makes the
    /// names and the hash is seeded, so a fast hash is enough.
    pub(super) streams: HashMap<Arc<str>, Stream, RandomState>,
    /// Streams that no gateway has reported yet, and since when they count.
    pub(super) unconfirmed: Queue<(Instant, Arc<str>)>,
    /// The sessions of the streams, and those without a stream that are still on the engine.
    pub(super) sessions: HashMap<SessionId, SessionEntry, RandomState>,
    /// The keys that count here, by name.
    pub(super) keys: HashMap<Arc<str>, KeyEntry, RandomState>,
    /// The sessions that a key keeps without a stream.
    pub(super) idle_keys: u32,
    /// The id of the next session.
    pub(super) next_session: u64,
    /// The sessions without a stream, by the time at which they end.
    pub(super) lingering: BTreeSet<(Instant, SessionId)>,
    /// Where probes do not count these: the sessions of the last probe that no placement explains.
    pub(super) foreign: Option<u32>,
    /// Estimated cost of sessions that lost their streams before a probe saw them, where probes do not count these.
    pub(super) hidden_costs: Vec<(Instant, CostEstimate)>,
    /// Sessions that the last probe cannot have seen: since when they count, and their estimated cost.
    pub(super) unprobed: Queue<(Instant, CostEstimate)>,
    /// Sessions that are gone since the last probe saw them: never more than the probe saw.
    pub(super) closed: Vec<ClosedStream>,
    /// Sessions that the last probe saw.
    pub(super) probed: u32,
    /// How many fewer it saw than expected: sessions that had closed, and were not reported closed.
    pub(super) missing: u32,
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
    /// When the next placement or session expires or the circuit breaker becomes half-open, after `now`.
    pub(super) fn valid_until(&self, ttl: Duration, now: Instant) -> Option<Instant> {
        let expiry = self.unconfirmed.first().map(|(since, _)| *since + ttl);
        let session_end = self.lingering.first().map(|(until, _)| *until);
        let trial = self
            .circuit_breaker
            .trial_at()
            .filter(|trial_at| *trial_at > now);
        let times = expiry.into_iter().chain(session_end).chain(trial);
        times.min()
    }

    /// Adds a session that no probe has seen.
    pub(super) fn add_unprobed(&mut self, since: Instant, estimate: CostEstimate) -> Ticket {
        self.pending_cost.placed(&estimate);
        self.unprobed.push((since, estimate))
    }

    /// Removes a session from the unprobed ones; `false` when a probe has seen it.
    pub(super) fn remove_unprobed(&mut self, unprobed: Ticket) -> bool {
        let Some((_, estimate)) = self.unprobed.take(unprobed) else {
            return false;
        };
        self.remove_cost(&estimate);
        true
    }

    /// A probe has seen the first `max` unprobed sessions whose time `is_before_probe`. Returns their estimated costs.
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
            self.remove_cost(estimate);
        }
        estimates
    }

    /// A probe shows the memory of the hidden sessions that were placed before `limit`. Returns their estimated costs.
    pub(super) fn take_hidden_costs(&mut self, limit: Instant) -> Vec<CostEstimate> {
        let shown = self
            .hidden_costs
            .extract_if(.., |(since, _)| *since <= limit);
        let estimates: Vec<CostEstimate> = shown.map(|(_, estimate)| estimate).collect();
        for estimate in &estimates {
            self.remove_cost(estimate);
        }
        estimates
    }

    fn remove_cost(&mut self, estimate: &CostEstimate) {
        let is_last = self.unprobed.is_empty() && self.hidden_costs.is_empty();
        self.pending_cost.remove(estimate, is_last);
    }

    /// Removes placements that no gateway has reported open in time, and sessions whose lifetime has passed.
    pub(super) fn expire(&mut self, expiry: &Expiry<'_>, now: Instant) {
        while let Some((since, name)) =
            (self.unconfirmed).pop_if(|(since, _)| *since + expiry.ttl <= now)
        {
            if let Some(stream) = self.streams.remove(&name) {
                let closed = ClosedStream {
                    earliest: since,
                    latest: since,
                };
                self.leave(stream.session, Some(closed), expiry.lifetime, expiry.ledger);
            }
        }
        self.expire_sessions(expiry.lifetime, now, expiry.ledger);
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
