//! How long the engine sessions of one pool outlive their streams, and whether probes count them meanwhile. Where these
//! numbers come from is not known here.

use std::time::Duration;

/// The lifetime of the engine sessions of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLifetime {
    /// How long a session outlives its last stream. Zero: each stream is a session of its own and ends it.
    pub after_close: Duration,
    /// How long a session lives whose stream never opened.
    pub unopened: Duration,
    /// Whether the number of sessions of a probe includes sessions without a stream.
    pub probe_counts_lingering: bool,
}

impl SessionLifetime {
    /// Sessions that end with their stream.
    pub const STREAM: Self = Self {
        after_close: Duration::ZERO,
        unopened: Duration::ZERO,
        probe_counts_lingering: true,
    };

    /// Whether a session remains when its stream has closed.
    #[must_use]
    pub const fn outlives_streams(&self) -> bool {
        !self.after_close.is_zero()
    }
}

impl Default for SessionLifetime {
    fn default() -> Self {
        Self::STREAM
    }
}
