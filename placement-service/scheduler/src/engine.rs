//! What is known of one engine: its name, its addresses, its state and its load at the last probe.
//! Values only; the fleet publishes them, the choice reads them. Nothing here knows how they were
//! learned.

pub mod endpoint;
pub mod load;

use crate::accounting::Tally;
use crate::circuit_breaker::Trust;
pub use endpoint::{Endpoint, EngineName};
pub use load::{Load, Memory};
use std::sync::Arc;
use tokio::time::Instant;

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
