//! What is known of one engine: its name, its addresses, its state and its load at the last probe.
//! Values only; the fleet publishes them, the choice reads them. Nothing here knows how they were
//! learned.

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

/// How an engine is doing, as the probe sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Found, not yet probed.
    Starting,
    /// Answers in full.
    Ok,
    /// Healthy, but its metrics do not answer: usable, with the healthcheck's numbers.
    NoMetrics,
    /// Healthy, but says itself that it is saturated: gets nothing new.
    Saturated,
    /// Leaves, or is not ready, as its discovery has it: gets nothing new, keeps what it has.
    Draining,
    /// Does not answer, or not as an engine does.
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

/// What a probe can tell. A number that the engine did not give is absent, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Sessions on the engine.
    pub sessions: Option<u32>,
    /// Memory, MB.
    pub memory: Option<Memory>,
    /// Share of the machine's CPU in use, 0 to 1.
    pub cpu: Option<f64>,
    /// The engine's own word that it can take no more.
    pub saturated: bool,
    /// Documents in memory, by name, sorted and each once; at most [`Load::MAX_DOCUMENTS`].
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
    /// Taken by the engine.
    pub committed: f64,
    /// Still free on its machine.
    pub free: f64,
}

impl Memory {
    /// The free share of what the engine can reach, 0 to 1.
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
    /// Its discovery says that it goes: its sockets are to be closed.
    pub leaving: bool,
    /// The last load that a probe brought; `None` when none did, or when it is too old to go by
    /// (the fleet says when): then only our own counts tell.
    pub load: Option<Arc<Load>>,
    /// When the probe that brought it began.
    pub probed_at: Option<Instant>,
    /// What the probe cannot know yet: reservations, suspicion. Shared between snapshots.
    pub tally: Arc<Tally>,
}

impl Engine {
    /// One that was found just now, and that nothing is known of.
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

    /// It can be used, but nothing that it said of its load counts any more.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        let usable = !matches!(self.state, State::Starting | State::Unhealthy);
        usable && self.load.is_none()
    }

    /// It answers, and its discovery does not want it emptied.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        matches!(self.state, State::Ok | State::NoMetrics | State::Saturated)
    }

    /// Sessions on it, as choices count them: with what has changed since the last probe.
    #[must_use]
    pub fn sessions(&self, now: Instant) -> u32 {
        let told = self.load.as_ref().and_then(|load| load.sessions);
        self.tally.standing(now).sessions(told)
    }

    /// It is up, no operator empties it, and no placement has failed there a moment ago.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        let standing = self.tally.standing(now);
        self.is_up() && !standing.draining && standing.trust == Trust::Clear
    }
}
