//! What one stream lets through from its client: everything, until the stream is doomed; then a close
//! frame where the client's next frame would begin, and nothing more. Counts bytes, and says when the
//! client was active. The engine answers the close frame, and so the client learns why.

use super::{ACTIVE_EVERY_MS, Live};
use crate::frames::{self, Walker};
use berth_api::CloseReason;
use std::rc::Rc;

/// What to do with a chunk of the client's bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Pass {
    /// Let it go on.
    All,
    /// Let its first bytes go on, and this close frame in the place of the rest.
    Close {
        /// So many bytes of the client's.
        keep: usize,
        /// The frame.
        frame: Vec<u8>,
    },
    /// Drop it.
    Nothing,
}

/// The tap of one stream.
#[derive(Debug)]
pub struct Tap {
    session_ref: Rc<str>,
    live: Rc<Live>,
    walker: Walker,
    received: u64,
    active_at: Option<u64>,
    shut: bool,
}

impl Tap {
    /// The tap of a stream that has just been opened.
    #[must_use]
    pub(super) const fn new(session_ref: Rc<str>, live: Rc<Live>) -> Self {
        Self {
            session_ref,
            live,
            walker: Walker::new(),
            received: 0,
            active_at: None,
            shut: false,
        }
    }

    /// Bytes from the client so far.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// The next `size` bytes have come, at the time `now` of a coarse clock; `read` as in [`Walker::walk`].
    /// Returns what to do with them, and the session when it is to be mentioned as active.
    pub fn chunk<B: AsRef<[u8]>>(
        &mut self,
        size: usize,
        now: u64,
        read: impl FnMut(usize, usize) -> Option<B>,
    ) -> (Pass, Option<Rc<str>>) {
        self.received = self.received.saturating_add(size as u64);
        if self.shut {
            return (Pass::Nothing, None);
        }
        self.live.heard.set(now);
        let walked = self.walker.walk(size, read);
        if let Some(reason) = self.live.doom.get() {
            return (self.shut(reason, walked.boundary), None);
        }
        // Before the last mention is a clock that has been set back.
        let again = |at: u64| now < at || now >= at.saturating_add(ACTIVE_EVERY_MS);
        let active = walked.data && self.active_at.is_none_or(again);
        if active {
            self.active_at = Some(now);
        }
        (Pass::All, active.then(|| Rc::clone(&self.session_ref)))
    }

    fn shut(&mut self, reason: CloseReason, boundary: Option<usize>) -> Pass {
        let Some(code) = reason.code() else {
            return Pass::All;
        };
        match boundary {
            Some(keep) => {
                self.shut = true;
                // A mask keeps clients from writing what a proxy might take for a request; these words are our own.
                let frame = frames::close(code, words(reason), [0; 4]);
                Pass::Close { keep, frame }
            }
            // The frame that is under way ends first.
            None if !self.walker.is_lost() => Pass::All,
            None => {
                self.shut = true;
                Pass::Nothing
            }
        }
    }
}

/// What the close frame says beside its code.
const fn words(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Expired => "session expired",
        CloseReason::Revoked => "session ended",
        CloseReason::TooOld => "open for too long",
        CloseReason::Drained => "engine is drained",
        CloseReason::Ended | CloseReason::Refused => "",
    }
}
