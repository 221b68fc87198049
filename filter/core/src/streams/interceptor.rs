//! What one stream forwards from its client: everything, until the stream closes; then a close frame at the next
//! frame boundary, and nothing after it. The engine echoes the close frame, so the client receives the close code.
//! Counts bytes and detects client activity. Knows no host.

use super::frames::{self, FrameScanner};
use super::{ACTIVITY_INTERVAL_MS, StreamState};
use berth_api::CloseReason;
use std::rc::Rc;

/// What to do with a chunk of the client's bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum ChunkAction {
    /// Forward it.
    Forward,
    /// Forward its first bytes, and replace the rest by this close frame.
    Close {
        /// Bytes to forward.
        keep: usize,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Drop it.
    Drop,
}

/// What the activity of a stream's client keeps alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveStream {
    /// The session.
    pub session_ref: Rc<str>,
    /// The key of the route's affinity, if it has one.
    pub key: Option<Rc<str>>,
}

/// The interceptor of one stream.
#[derive(Debug)]
pub struct FrameInterceptor {
    /// `None`: the client's activity does not count.
    active: Option<ActiveStream>,
    state: Rc<StreamState>,
    scanner: FrameScanner,
    received: u64,
    /// The last activity report.
    reported_at: Option<u64>,
    closed: bool,
}

impl FrameInterceptor {
    /// The interceptor of a stream that has just opened.
    #[must_use]
    pub(super) const fn new(active: Option<ActiveStream>, state: Rc<StreamState>) -> Self {
        Self {
            active,
            state,
            scanner: FrameScanner::new(),
            received: 0,
            reported_at: None,
            closed: false,
        }
    }

    /// Bytes from the client so far.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Handles the next `size` bytes at the time `now` of a coarse clock; `read` as in [`FrameScanner::scan`].
    /// Returns what to do with them, and what is to be reported as active.
    pub fn on_chunk<B: AsRef<[u8]>>(
        &mut self,
        size: usize,
        now: u64,
        read: impl FnMut(usize, usize) -> Option<B>,
    ) -> (ChunkAction, Option<ActiveStream>) {
        self.received = self.received.saturating_add(size as u64);
        if self.closed {
            return (ChunkAction::Drop, None);
        }
        self.state.last_active.set(now);
        let scan = self.scanner.scan(size, read);
        if scan.close {
            self.state.client_closed.set(true);
        }
        if scan.close_code.is_some() {
            self.state.close_code.set(scan.close_code);
        }
        if let Some(reason) = self.state.close_reason.get() {
            return (self.close(reason, scan.boundary), None);
        }
        // A time before the last report means that the clock has moved back.
        let is_due = |last_active: u64| {
            now < last_active || now >= last_active.saturating_add(ACTIVITY_INTERVAL_MS)
        };
        let active = scan.data && self.reported_at.is_none_or(is_due);
        if active {
            self.reported_at = Some(now);
        }
        let active = self.active.as_ref().filter(|_| active).cloned();
        (ChunkAction::Forward, active)
    }

    fn close(&mut self, reason: CloseReason, boundary: Option<usize>) -> ChunkAction {
        let Some(code) = reason.close_code() else {
            return ChunkAction::Forward;
        };
        match boundary {
            Some(kept_bytes) => {
                self.closed = true;
                // Masking stops clients from forging requests to proxies (RFC 6455, section 10.3). This text is ours,
                // so a zero mask is enough.
                let frame = frames::close_frame(code, reason.as_str(), [0; 4]);
                ChunkAction::Close {
                    keep: kept_bytes,
                    frame,
                }
            }
            // The current frame ends first.
            None if !self.scanner.is_desynchronized() => ChunkAction::Forward,
            None => {
                self.closed = true;
                ChunkAction::Drop
            }
        }
    }
}
