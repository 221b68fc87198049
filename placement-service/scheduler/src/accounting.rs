//! The accounting of one engine: the sessions that count on it.
//!
//! A session counts from the decision on, as a [`Reservation`], which is released when it is dropped. When the placement
//! succeeds, the session counts with its streams: until a gateway has reported its last stream closed and its
//! [`SessionLifetime`] after that has passed, or until the placement expires because no gateway has reported it open. A
//! probe counts the sessions on the engine itself, but late. Therefore each session is in one of these states, so that
//! it counts exactly once:
//!
//! | | the last probe cannot have seen it | the last probe has seen it |
//! | --- | --- | --- |
//! | on the engine, or expected there | *unprobed*: added to the probe's count | in the probe's count |
//! | gone | not counted | *closed*: subtracted from the probe's count until the next probe |
//!
//! Where probes do not count sessions without a stream, such a session is *hidden* from them. There the number of a probe
//! only shows how many sessions are *foreign*, placed by nobody known; the others are counted here.
//!
//! Independently of probes, a stream is *unconfirmed* until a gateway reports it open. Sessions through other replicas
//! are added in the same way. Knows no strategy, driver or gateway; time is an argument.

mod dirty_set;
mod engine_session;
mod held_key;
mod key_count;
mod ledger_entry;
mod pending_cost;
mod queue;
mod registry;
mod remote_sessions;
mod reservation;
mod session_lifetime;
mod snapshot;
mod state;
mod stream_counts;

use crate::EngineIndex;
use crate::circuit_breaker::CircuitState;
use crate::cost::{CostKey, PoolCosts};
use crate::engine::load::Load;
pub(crate) use dirty_set::DirtySet;
use dirty_set::Subscription;
pub use engine_session::{EngineSession, EngineSessionStatus};
pub use held_key::HeldKey;
pub use key_count::{KeyCount, ledger_name};
pub use ledger_entry::LedgerEntry;
use parking_lot::{Mutex, MutexGuard};
use pending_cost::CostEstimate;
use queue::Ticket;
pub use registry::AccountingRegistry;
pub use reservation::{HalfOpenPermit, Reservation};
pub use session_lifetime::SessionLifetime;
pub use snapshot::LoadSnapshot;
use state::{AccountingState, ClosedStream, Expiry, Stream};
use std::sync::Arc;
use std::time::Duration;
pub use stream_counts::{ChangedCount, PoolStreams, StreamCounts, StreamLimits, StreamSlot};
use tokio::time::Instant;

/// A new session may take this long to show in an engine's numbers: its client has yet to connect.
const SETTLE: Duration = Duration::from_millis(500);

/// The accounting of one engine, shared by all snapshots of the engine.
#[derive(Debug)]
pub struct EngineAccounting {
    ttl: Duration,
    /// How long sessions outlive their streams.
    lifetime: SessionLifetime,
    /// `None`: this is the only replica.
    ledger: Option<LedgerEntry>,
    /// The streams of the engine's pool by login session.
    streams: Arc<PoolStreams>,
    state: Mutex<AccountingState>,
}

impl EngineAccounting {
    /// Empty. A placement that no gateway reports open counts for at most `ttl`.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self::with_lifetime(ttl, SessionLifetime::STREAM)
    }

    /// Empty, for an engine whose sessions have that lifetime.
    #[must_use]
    pub fn with_lifetime(ttl: Duration, lifetime: SessionLifetime) -> Self {
        Self::with_ledger(ttl, lifetime, None, Arc::default())
    }

    /// Empty, with the engine's entry in the replicas' ledger. `streams`: the streams of the engine's pool.
    #[must_use]
    pub fn with_ledger(
        ttl: Duration,
        lifetime: SessionLifetime,
        ledger: Option<LedgerEntry>,
        streams: Arc<PoolStreams>,
    ) -> Self {
        Self {
            ttl,
            lifetime,
            ledger,
            streams,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, AccountingState> {
        self.state.lock()
    }

    const fn expiry(&self) -> Expiry<'_> {
        Expiry {
            ttl: self.ttl,
            lifetime: &self.lifetime,
            ledger: self.ledger.as_ref(),
        }
    }

    /// Locks the state to change it: the scheduler reads this engine again at its next decision.
    fn update(&self) -> MutexGuard<'_, AccountingState> {
        let mut state = self.lock();
        if let Some(subscription) = &mut state.subscription {
            subscription.mark();
        }
        state
    }

    /// Connects the engine with its scheduler, instead of an earlier one: changes put `index` into `dirty`, and probes
    /// teach `costs` what sessions cost.
    pub(crate) fn subscribe(
        &self,
        dirty: &Arc<DirtySet>,
        index: EngineIndex,
        costs: &Arc<PoolCosts>,
    ) {
        let mut state = self.lock();
        state.subscription = Some(Subscription::new(dirty, index));
        state.pool_costs = Some(Arc::clone(costs));
    }

    /// Number of placements that neither a probe nor a gateway has confirmed.
    #[must_use]
    pub fn unconfirmed(&self, now: Instant) -> u32 {
        let mut state = self.lock();
        state.expire(&self.expiry(), now);
        let streams = state.unconfirmed.iter();
        let streams = streams.filter_map(|(_, name)| state.streams.get(name));
        let sessions = streams.filter_map(|stream| state.sessions.get(&stream.session));
        let unprobed = sessions.filter(|session| state.unprobed.get(session.unprobed).is_some());
        let placed = unprobed.count();
        state.pending.saturating_add(count(placed))
    }

    /// Counts one more session for a placement that no strategy decided. `turn`: the engine's latest turn, which stays.
    pub fn reserve(self: &Arc<Self>, turn: u64) -> Reservation {
        self.reserve_for(turn, CostKey::default())
    }

    /// Counts one more session, with its estimated cost, for placement number `turn`.
    pub fn reserve_for(self: &Arc<Self>, turn: u64, key: CostKey) -> Reservation {
        let estimate = self.update().acquire(turn, key);
        Reservation::new(Arc::clone(self), estimate)
    }

    /// A gateway has reported a stream of the session `session_ref` open, which it is since `since`.
    pub fn opened(&self, stream: &str, session_ref: &str, since: Instant) {
        self.opened_with_key(stream, session_ref, None, since);
    }

    /// As [`Self::opened`]; `key`: the name of the stream's key, if it has one.
    pub fn opened_with_key(
        &self,
        stream: &str,
        session_ref: &str,
        key: Option<&str>,
        since: Instant,
    ) {
        let mut guard = self.update();
        let state = &mut *guard;
        if let Some(record) = state.streams.get(stream) {
            let session = record.session;
            state.unconfirmed.take(record.unconfirmed);
            state.mark_opened(session);
            return;
        }
        // Placed by another process, or expired.
        let name: Arc<str> = stream.into();
        let joined = key.and_then(|key| state.join_key(key, &self.lifetime, since));
        let session = match joined {
            Some(session) => session,
            None => {
                if let Some(ledger) = &self.ledger {
                    ledger.opened(&name);
                }
                let is_unprobed = state
                    .probed_at
                    .is_none_or(|probed_at| since + SETTLE > probed_at);
                let unprobed = if is_unprobed {
                    state.add_unprobed(since, CostEstimate::default())
                } else {
                    Ticket::NONE
                };
                let ledger_name = self.ledger.as_ref().map(|_| Arc::clone(&name));
                let session = state.add_session(since, unprobed, ledger_name);
                if let Some(key) = key {
                    state.add_to_key(key, session);
                }
                session
            }
        };
        state.mark_opened(session);
        let stream = Stream {
            since,
            unconfirmed: Ticket::NONE,
            session,
            _slot: Some(self.streams.adopt(session_ref)),
        };
        state.streams.insert(name, stream);
    }

    /// The stream is closed, or was never opened. `duration`: the minimum time for which it was open. A session that may
    /// have ended before the last probe began is not subtracted from that probe's count, as the probe may not have
    /// counted it: until the next probe there may be fewer sessions than counted, never more. Closing a stream again
    /// has no effect. `false` when the stream is not in this accounting.
    pub fn closed(&self, stream: &str, duration: Duration, now: Instant) -> bool {
        let mut guard = self.update();
        let state = &mut *guard;
        let Some(record) = state.streams.remove(stream) else {
            return false;
        };
        state.unconfirmed.take(record.unconfirmed);
        let earliest = record.since.checked_add(duration);
        let closed = ClosedStream {
            earliest: earliest.map_or(now, |earliest| earliest.min(now)),
            latest: now,
        };
        state.leave(
            record.session,
            Some(closed),
            &self.lifetime,
            self.ledger.as_ref(),
        );
        state.expire_sessions(&self.lifetime, now, self.ledger.as_ref());
        true
    }

    /// A probe that began at `probe_start` saw this number of sessions.
    pub fn apply_probed_sessions(&self, probe_start: Instant, sessions: u32) {
        let load = Load {
            sessions: Some(sessions),
            ..Load::default()
        };
        self.apply_probe(probe_start, &load);
    }

    /// The numbers of a probe that began at `probe_start`. It has seen the placements that were made well before. Of those
    /// made shortly before, it has seen as many as its number of sessions has grown by.
    pub fn apply_probe(&self, probe_start: Instant, load: &Load) {
        let mut state = self.update();
        state.expire_sessions(&self.lifetime, probe_start, self.ledger.as_ref());
        let mut probed = state.take_probed(|since| since + SETTLE <= probe_start, usize::MAX);
        let settled_count = count(probed.len());
        // Only these are certain to have closed before the probe.
        let closed = state
            .closed
            .iter()
            .filter(|c| c.latest <= probe_start)
            .count();
        let closed = count(closed);
        state.closed.retain(|closed| closed.earliest > probe_start);
        let remote_growth = state.remote.apply_probe(probe_start);
        if let Some(sessions) = load.sessions {
            let expected = state
                .probed
                .saturating_sub(closed)
                .saturating_add(settled_count);
            let expected = i64::from(expected).saturating_add(remote_growth).max(0);
            let expected = u32::try_from(expected).unwrap_or(u32::MAX);
            let grown = usize::try_from(sessions.saturating_sub(expected)).unwrap_or(usize::MAX);
            probed.extend(state.take_probed(|since| since <= probe_start, grown));
            state.probed = sessions;
            state.missing = expected.saturating_sub(sessions);
            // The lower bound: a probe amid many openings and closings shows no number exactly.
            let placed = count(state.count_visible(probe_start)).saturating_add(state.pending);
            let known = placed.saturating_add(state.remote.count());
            state.foreign =
                (!self.lifetime.probe_counts_lingering).then(|| sessions.saturating_sub(known));
        }
        state.probed_at = Some(probe_start);
        probed.extend(state.take_hidden_costs(probe_start));
        let observations = state.pending_cost.apply_probe(&probed, load);
        if let Some(costs) = &state.pool_costs {
            costs.observe(&observations);
        }
    }

    /// There is nothing to remember: no placement, no stream, no drain.
    #[must_use]
    fn is_empty(&self) -> bool {
        let state = self.lock();
        state.pending == 0 && state.sessions.is_empty() && state.keys.is_empty() && !state.draining
    }

    /// An operator drains the engine, so that it gets no new session; or ends the drain.
    pub fn set_draining(&self, draining: bool) {
        self.update().draining = draining;
    }

    /// The engine has just become ready: its slow start begins.
    pub fn mark_ready(&self, now: Instant) {
        self.update().up_since = Some(now);
    }

    /// Begins a trial of an ejected engine, if one is due.
    #[must_use]
    pub fn begin_trial(self: &Arc<Self>, now: Instant) -> Option<HalfOpenPermit> {
        let mut state = self.update();
        if state.circuit_breaker.state(now) != CircuitState::HalfOpen {
            return None;
        }
        state.circuit_breaker.begin_trial();
        Some(HalfOpenPermit(Arc::clone(self)))
    }

    /// A placement that began at `started_at` failed through the engine's fault. True when this ejects the engine, or ejects
    /// it for longer.
    pub fn record_failure(&self, started_at: Instant, now: Instant) -> bool {
        self.update()
            .circuit_breaker
            .record_failure(started_at, now)
    }

    /// A placement succeeded. True when the engine was ejected before.
    pub fn record_success(&self) -> bool {
        self.update().circuit_breaker.record_success()
    }
}

fn count(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
