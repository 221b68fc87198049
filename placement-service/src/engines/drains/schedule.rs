//! When the event of a drain is sent to a gateway, and over which period the gateway then closes the sockets: at once,
//! at the end of the drain, and again while sockets remain. Does not know what is drained, nor who receives the event.

use crate::core::clock::millis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Sockets that were being opened when the drain began (stragglers) are closed at its end, over this period.
pub(super) const STRAGGLERS_MS: u64 = 5_000;
/// A gateway that missed the event may still have stragglers: while there are any, it is sent again after this time.
pub(super) const RESEND_AFTER_MS: u64 = 30_000;

/// A drain, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The start, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The period over which the sockets are closed, in milliseconds.
    pub over_ms: u64,
}

impl Drain {
    /// A drain that starts now.
    #[must_use]
    pub fn starting(since_ms: u64, over: Duration) -> Self {
        Self {
            since_ms,
            over_ms: millis(over),
        }
    }

    /// When all sockets should be closed, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn end_ms(&self) -> u64 {
        self.since_ms.saturating_add(self.over_ms)
    }
}

/// A drain whose event has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentDrain {
    drain: Drain,
    /// When the event for stragglers was sent last, in milliseconds since the Unix epoch.
    stragglers_ms: Option<u64>,
}

impl SentDrain {
    /// The drain of the event.
    #[must_use]
    pub const fn drain(&self) -> Drain {
        self.drain
    }

    /// The period of the event that is due now, in milliseconds, if one is due; and the state after it. `known` is the
    /// last state, perhaps of another drain.
    pub fn next(
        known: Option<Self>,
        drain: Drain,
        now_ms: u64,
        has_sockets: impl FnOnce() -> bool,
    ) -> (Self, Option<u64>) {
        let left_ms = drain.end_ms().saturating_sub(now_ms);
        let Some(known) = known.filter(|known| known.drain == drain) else {
            let sent = Self {
                drain,
                stragglers_ms: None,
            };
            return (sent, Some(left_ms.max(STRAGGLERS_MS.min(drain.over_ms))));
        };
        let is_due = left_ms == 0
            && known.stragglers_ms.is_none_or(|sent_ms| {
                now_ms.saturating_sub(sent_ms) >= RESEND_AFTER_MS && has_sockets()
            });
        if !is_due {
            return (known, None);
        }
        let sent = Self {
            drain,
            stragglers_ms: Some(now_ms),
        };
        (sent, Some(STRAGGLERS_MS))
    }
}
