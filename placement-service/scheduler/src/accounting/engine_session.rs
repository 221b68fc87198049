//! The handle of one engine session: it says whether the session is still on its engine, lets a later stream join it, and
//! ends it in the accounting. Knows no driver.

use super::state::{ClosedStream, SessionId};
use super::{EngineAccounting, Reservation};
use std::sync::{Arc, Weak};
use tokio::time::Instant;

/// A session on an engine, as long as the engine's accounting has it.
#[derive(Clone, Debug)]
pub struct EngineSession {
    accounting: Weak<EngineAccounting>,
    id: SessionId,
}

impl PartialEq for EngineSession {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.accounting.ptr_eq(&other.accounting)
    }
}

impl Eq for EngineSession {}

impl EngineSession {
    pub(super) fn new(accounting: &Arc<EngineAccounting>, id: SessionId) -> Self {
        Self {
            accounting: Arc::downgrade(accounting),
            id,
        }
    }

    /// A reservation for one more stream of the session, which counts no further session. `None` when the session has
    /// ended, or when each stream is a session of its own.
    #[must_use]
    pub fn join(&self, now: Instant) -> Option<Reservation> {
        let accounting = self.accounting.upgrade()?;
        if !accounting.lifetime.outlives_streams() {
            return None;
        }
        let mut state = accounting.update();
        state.expire(&accounting.expiry(), now);
        let joined = state.join(self.id, &accounting.lifetime, now);
        drop(state);
        joined.then(|| Reservation::joining(accounting, self.id))
    }

    /// Whether the session is on the engine, and whether it has a stream, open or expected.
    #[must_use]
    pub fn status(&self, now: Instant) -> EngineSessionStatus {
        let Some(accounting) = self.accounting.upgrade() else {
            return EngineSessionStatus::Ended;
        };
        let mut state = accounting.lock();
        state.expire(&accounting.expiry(), now);
        match state.sessions.get(&self.id) {
            None => EngineSessionStatus::Ended,
            Some(session) if session.holders > 0 => EngineSessionStatus::InUse,
            Some(session) => EngineSessionStatus::Lingering {
                until: session.closed.latest + session.linger(&accounting.lifetime),
            },
        }
    }

    /// The engine was requested to end the session: it no longer counts, or ends with its last stream.
    pub fn end(&self, now: Instant) {
        let Some(accounting) = self.accounting.upgrade() else {
            return;
        };
        let mut state = accounting.update();
        let Some(session) = state.sessions.get_mut(&self.id) else {
            return;
        };
        if session.holders > 0 {
            session.ended = true;
            return;
        }
        let until = session.closed.latest + session.linger(&accounting.lifetime);
        state.lingering.remove(&(until, self.id));
        let ended = ClosedStream {
            earliest: now,
            latest: now,
        };
        state.end_session(self.id, ended, accounting.ledger.as_ref());
    }
}

/// The status of an engine session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineSessionStatus {
    /// It has a stream, open or expected.
    InUse,
    /// It has no stream, and ends at this time.
    Lingering {
        /// When the engine ends it by itself.
        until: Instant,
    },
    /// It is not on the engine, as far as is known.
    Ended,
}
