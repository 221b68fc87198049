//! The accounting of one engine at one moment, as decisions and operators see it.

use super::state::AccountingState;
use super::{EngineAccounting, count};
use crate::circuit_breaker::CircuitState;
use crate::cost::Cost;
use tokio::time::Instant;

/// What a decision needs to know of an engine's accounting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadSnapshot {
    /// Placements under way, and sessions that the last probe cannot have seen.
    pub reserved: u32,
    /// Sessions that the last probe has seen and that are gone since.
    pub closed: u32,
    /// Sessions of the last probe that no placement explains. `None` where probes count sessions without a stream, so
    /// that their number is that of all sessions.
    pub foreign: Option<u32>,
    /// Placements under way, sessions with a stream, open or expected, and sessions that outlive their streams.
    pub own: u32,
    /// Sessions through other replicas.
    pub remote: u32,
    /// Those of them that the last probe cannot have seen.
    pub remote_unprobed: u32,
    /// Sessions that a key keeps without a stream: probes do not count them.
    pub idle_keys: u32,
    /// Streams that are open.
    pub open: u32,
    /// Number of the placement that last chose this engine.
    pub turn: u64,
    /// The state of its circuit breaker.
    pub circuit: CircuitState,
    /// An operator drains it: it gets no new session.
    pub draining: bool,
    /// When it became ready, if that was seen.
    pub up_since: Option<Instant>,
    /// Sessions that the last probe saw.
    pub probed: Option<u32>,
    /// Estimated cost of the sessions that no probe has seen.
    pub pending_cost: Cost,
    /// The CPU in use, smoothed over the last probes, 0 to 1.
    pub cpu: Option<f64>,
    /// When time alone will change any of this.
    pub valid_until: Option<Instant>,
}

impl LoadSnapshot {
    /// Sessions on the engine now: those that the last probe saw, with the changes since; or only Berth's own count when
    /// `probed_sessions`, the sessions of the engine's published load, is absent or was dropped because it is too old.
    #[must_use]
    pub fn sessions(&self, probed_sessions: Option<u32>) -> u32 {
        // The accounting may know a later probe than the fleet's snapshot.
        let probed = probed_sessions.map(|sessions| self.probed.unwrap_or(sessions));
        match (probed, self.foreign) {
            (Some(probed), None) => probed
                .saturating_sub(self.closed)
                .saturating_add(self.reserved)
                .saturating_add(self.idle_keys)
                .saturating_add(self.remote_unprobed),
            (_, foreign) => {
                let foreign = foreign.filter(|_| probed.is_some()).unwrap_or(0);
                let placed = self.own.saturating_add(self.remote);
                placed.saturating_add(foreign)
            }
        }
    }
}

impl EngineAccounting {
    /// The accounting as of `now`.
    #[must_use]
    pub fn snapshot(&self, now: Instant) -> LoadSnapshot {
        self.snapshot_of(&mut self.lock(), now)
    }

    /// As [`Self::snapshot`], for the scheduler: until the next change it need not read the engine again.
    pub(crate) fn read(&self, now: Instant) -> LoadSnapshot {
        let mut state = self.lock();
        if let Some(subscription) = &mut state.subscription {
            subscription.clear();
        }
        self.snapshot_of(&mut state, now)
    }

    fn snapshot_of(&self, state: &mut AccountingState, now: Instant) -> LoadSnapshot {
        state.expire(&self.expiry(), now);
        LoadSnapshot {
            reserved: state.pending.saturating_add(count(state.unprobed.len())),
            closed: count(state.closed.len()),
            foreign: state.foreign,
            own: state.pending.saturating_add(count(state.sessions.len())),
            remote: state.remote.count(),
            remote_unprobed: state.remote.unprobed(),
            idle_keys: state.idle_keys,
            open: count(state.streams.len() - state.unconfirmed.len()),
            turn: state.turn,
            circuit: state.circuit_breaker.state(now),
            draining: state.draining,
            up_since: state.up_since,
            probed: state.pending_cost.sessions(),
            pending_cost: state.pending_cost.cost(),
            cpu: state.pending_cost.smooth_cpu(),
            valid_until: state.valid_until(self.ttl, now),
        }
    }
}
