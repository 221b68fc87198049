//! The books of one engine at one moment, as choices and operators see them.

use super::{Tally, count};
use crate::circuit_breaker::Trust;
use crate::cost::Cost;
use tokio::time::Instant;

/// What a choice needs to know of the books.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Placements under way, and streams that the last probe cannot have seen.
    pub reserved: u32,
    /// Streams that the last probe has seen and that have closed since.
    pub left: u32,
    /// Placements under way, streams that are open, and those that no gateway has reported yet.
    pub own: u32,
    /// Sessions there through other replicas.
    pub elsewhere: u32,
    /// Those of them that the last probe cannot have seen.
    pub elsewhere_unseen: u32,
    /// Streams that are open.
    pub open: u32,
    /// The turn in which round-robin last chose this engine.
    pub turn: u64,
    /// Whether it may be used.
    pub trust: Trust,
    /// It is to get nothing new.
    pub draining: bool,
    /// When it came up, if that was seen.
    pub up_since: Option<Instant>,
    /// Sessions that the last probe saw.
    pub probed: Option<u32>,
    /// What the sessions that no probe has seen are going to take.
    pub coming: Cost,
    /// The CPU in use, smoothed over the last probes, 0 to 1.
    pub cpu: Option<f64>,
}

impl Standing {
    /// Sessions on the engine now: what the last probe saw and has changed since, or our own count when
    /// probes tell nothing of sessions, or told it too long ago. `told`: the sessions of the engine's load.
    #[must_use]
    pub fn sessions(&self, told: Option<u32>) -> u32 {
        // The books may know a probe that the snapshot does not have yet.
        match told.map(|sessions| self.probed.unwrap_or(sessions)) {
            Some(probed) => probed
                .saturating_sub(self.left)
                .saturating_add(self.reserved)
                .saturating_add(self.elsewhere_unseen),
            None => self.own.saturating_add(self.elsewhere),
        }
    }
}

impl Tally {
    /// The books as of `now`.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        let mut books = self.books();
        books.lapse(self.ttl, now, self.account.as_ref());
        Standing {
            reserved: books.pending.saturating_add(count(books.unseen.len())),
            left: count(books.left.len()),
            own: books.pending.saturating_add(count(books.streams.len())),
            elsewhere: books.elsewhere.count(),
            elsewhere_unseen: books.elsewhere.unseen(),
            open: count(books.streams.len() - books.waiting.len()),
            turn: books.turn,
            trust: books.suspicion.trust(now),
            draining: books.draining,
            up_since: books.up_since,
            probed: books.coming.sessions(),
            coming: books.coming.cost(),
            cpu: books.coming.smooth_cpu(),
        }
    }
}
