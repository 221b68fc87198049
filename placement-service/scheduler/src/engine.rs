//! One engine as the fleet publishes it: name, addresses, state, and load at the last probe. Plain values, which the
//! scheduler reads; how they are obtained is not known here.

use crate::accounting::Tally;
use crate::circuit_breaker::Trust;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// An engine's name: unique within its pool, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineName(Arc<str>);

impl EngineName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for EngineName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an engine listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// WebSockets and the healthcheck.
    pub api: SocketAddr,
    /// Prometheus metrics, if it has any.
    pub metrics: Option<SocketAddr>,
}

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

/// The numbers of a probe. A number that the engine does not report is absent, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Sessions on the engine.
    pub sessions: Option<u32>,
    /// Memory, MB.
    pub memory: Option<Memory>,
    /// Share of the machine's CPU in use, 0 to 1.
    pub cpu: Option<f64>,
    /// The engine reports itself saturated.
    pub saturated: bool,
    /// Names of the documents in memory, sorted, each once; at most [`Load::MAX_DOCUMENTS`].
    pub documents: Vec<String>,
}

impl Load {
    /// Document names kept per engine.
    pub const MAX_DOCUMENTS: usize = 1000;

    /// Whether the document is in memory.
    #[must_use]
    pub fn holds(&self, document: &str) -> bool {
        self.documents
            .binary_search_by(|held| held.as_str().cmp(document))
            .is_ok()
    }
}

/// Memory of an engine, MB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Used by the engine.
    pub committed: f64,
    /// Still free on its machine.
    pub free: f64,
}

impl Memory {
    /// The free share of the memory that the engine can use, 0 to 1.
    #[must_use]
    pub fn headroom(self) -> f64 {
        let all = self.committed + self.free;
        if all > 0.0 {
            (self.free / all).clamp(0.0, 1.0)
        } else {
            0.0
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
    /// As of the last probe.
    pub state: State,
    /// Discovery reports it as terminating: its sockets have to be closed.
    pub leaving: bool,
    /// The load of the last successful probe; `None` when there was none, or when the fleet dropped it as too old: then
    /// only Berth's own counts are used.
    pub load: Option<Arc<Load>>,
    /// When that probe began.
    pub probed_at: Option<Instant>,
    /// Its accounting: reservations, streams, circuit breaker. Shared by all snapshots.
    pub tally: Arc<Tally>,
}

impl Engine {
    /// An engine that discovery has just found.
    #[must_use]
    pub const fn found(name: EngineName, endpoint: Endpoint, tally: Arc<Tally>) -> Self {
        Self {
            name,
            endpoint,
            state: State::Starting,
            leaving: false,
            load: None,
            probed_at: None,
            tally,
        }
    }

    /// It can be used, but its load is not known, or no longer.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let usable = !matches!(self.state, State::Starting | State::Unhealthy);
        usable && self.load.is_none()
    }

    /// Its probes succeed, and discovery does not drain it.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Ok | State::NoMetrics | State::Saturated)
    }

    /// Sessions on it, as decisions count them: with the changes since the last probe.
    #[must_use]
    pub fn sessions(&self, now: Instant) -> u32 {
        let probed = self.load.as_ref().and_then(|load| load.sessions);
        self.tally.standing(now).sessions(probed)
    }

    /// It is up, no operator drains it, and its circuit breaker is closed.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        let snapshot = self.tally.standing(now);
        self.is_up() && !snapshot.draining && snapshot.trust == Trust::Clear
    }
}
