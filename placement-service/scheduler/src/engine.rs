//! One engine as the fleet publishes it: name, addresses, state, and load at the last probe. Plain values, which the
//! scheduler reads; how they are obtained is not known here.

pub mod endpoint;
pub mod load;

use crate::accounting::EngineAccounting;
use crate::circuit_breaker::CircuitState;
pub use endpoint::{Endpoint, EngineName};
pub use load::{Load, Memory};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The state of an engine, by its probes and its discovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Found, not yet probed.
    Starting,
    /// Its probes succeed.
    Ok,
    /// Healthy, but its metrics endpoint does not answer: usable, with the numbers of its health check.
    NoMetrics,
    /// Healthy, but it reports itself saturated: gets no new session.
    Saturated,
    /// Discovery reports it as terminating or not ready: gets no new session, keeps the present ones.
    Draining,
    /// Its probes fail.
    Unhealthy,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Starting,
        Self::Ok,
        Self::NoMetrics,
        Self::Saturated,
        Self::Draining,
        Self::Unhealthy,
    ];

    /// The constant for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::NoMetrics => "no-metrics",
            Self::Saturated => "saturated",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One engine in a fleet snapshot.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Unique within the pool.
    pub name: EngineName,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Distinguishes it from an earlier engine of the same name at the same address, if its discovery does.
    pub incarnation: Option<Arc<str>>,
    /// As of the last probe.
    pub state: State,
    /// Discovery reports it as terminating: its sockets have to be closed.
    pub terminating: bool,
    /// Since when its probes fail, if they do.
    pub unhealthy_since: Option<Instant>,
    /// The load of the last successful probe; `None` when there was none, or when the fleet dropped it as too old: then
    /// only Berth's own counts are used.
    pub load: Option<Arc<Load>>,
    /// When that probe began.
    pub probed_at: Option<Instant>,
    /// Wakes its probe before the interval has passed.
    pub probe_now: Arc<Notify>,
    /// Its accounting: reservations, streams, circuit breaker. Shared by all snapshots.
    pub accounting: Arc<EngineAccounting>,
}

impl Engine {
    /// An engine that discovery has just found.
    #[must_use]
    pub fn new(name: EngineName, endpoint: Endpoint, accounting: Arc<EngineAccounting>) -> Self {
        Self {
            name,
            endpoint,
            incarnation: None,
            state: State::Starting,
            terminating: false,
            unhealthy_since: None,
            load: None,
            probed_at: None,
            probe_now: Arc::default(),
            accounting,
        }
    }

    /// Whether it can be the engine that had this incarnation: the two are equal, or one of them is not known.
    #[must_use]
    pub fn may_be(&self, incarnation: Option<&str>) -> bool {
        let own = self.incarnation.as_deref();
        own.is_none() || incarnation.is_none() || own == incarnation
    }

    /// It can be used, but its load is not known, or no longer.
    #[must_use]
    pub fn metrics_stale(&self) -> bool {
        let is_usable = !matches!(self.state, State::Starting | State::Unhealthy);
        is_usable && self.load.is_none()
    }

    /// Its probes succeed, and discovery does not drain it.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Ok | State::NoMetrics | State::Saturated)
    }

    /// Sessions on it, as decisions count them: with the changes since the last probe.
    #[must_use]
    pub fn sessions(&self, now: Instant) -> u32 {
        let probed_sessions = self.load.as_ref().and_then(|load| load.sessions);
        self.accounting.snapshot(now).sessions(probed_sessions)
    }

    /// It is up, no operator drains it, and its circuit breaker is closed.
    #[must_use]
    pub fn accepts_sessions(&self, now: Instant) -> bool {
        let snapshot = self.accounting.snapshot(now);
        self.is_up() && !snapshot.draining && snapshot.circuit == CircuitState::Closed
    }
}
