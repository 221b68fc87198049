//! A reservation, from the selection of an engine until gateways report the stream: confirmed by the replicas' ledger,
//! then placed, or released when it is dropped. And the permit to try an ejected engine.

use super::EngineAccounting;
use super::engine_session::EngineSession;
use super::pending_cost::CostEstimate;
use super::state::{SessionId, Stream};
use super::stream_counts::StreamSlot;
use crate::capacity_ledger::{CapacityLimits, LedgerReply};
use std::sync::Arc;
use tokio::time::Instant;

/// One session that counts on an engine before it is there, or one more stream of a session that counts already.
#[derive(Debug)]
#[must_use = "dropping it releases the reservation"]
pub struct Reservation {
    pub(super) accounting: Arc<EngineAccounting>,
    pub(super) estimate: CostEstimate,
    /// The session that the stream joins; `None`: it begins a new one.
    pub(super) joined: Option<SessionId>,
    pub(super) slot: Option<StreamSlot>,
    /// The key that the session counts for.
    pub(super) key: Option<Arc<str>>,
    /// The name under which the ledger knows it.
    pub(super) stream: Option<Arc<str>>,
    /// It counts under its stream's name.
    pub(super) placed: bool,
}

impl Reservation {
    /// Reserves a new session.
    pub(super) const fn new(accounting: Arc<EngineAccounting>, estimate: CostEstimate) -> Self {
        Self {
            accounting,
            estimate,
            joined: None,
            slot: None,
            key: None,
            stream: None,
            placed: false,
        }
    }

    /// Reserves one more stream of a session, which has counted it already.
    pub(super) fn joining(accounting: Arc<EngineAccounting>, session: SessionId) -> Self {
        let mut reservation = Self::new(accounting, CostEstimate::default());
        reservation.joined = Some(session);
        reservation
    }

    /// Makes the stream count for its login session as long as it counts on the engine.
    pub fn attach_slot(&mut self, slot: StreamSlot) {
        self.slot = Some(slot);
    }

    /// Reserves in the replicas' ledger, if there is one and it does not count the session already. `stream` generates
    /// the name under which gateways will report the stream.
    pub async fn confirm(
        &mut self,
        stream: impl FnOnce() -> String + Send,
        limits: CapacityLimits,
    ) -> LedgerReply {
        let accounting = Arc::clone(&self.accounting);
        let Some(entry) = accounting.ledger.as_ref().filter(|_| self.joined.is_none()) else {
            return LedgerReply::Reserved;
        };
        let stream: Arc<str> = stream().into();
        // From here on dropping the reservation releases it in the ledger, too.
        self.stream = Some(Arc::clone(&stream));
        let confirmed = entry.reserve(&stream, limits).await;
        if let LedgerReply::EngineFull { remote } = confirmed {
            accounting.set_remote_sessions(remote, Instant::now());
        }
        confirmed
    }

    /// The name under which gateways will report the stream, if the ledger knows it.
    #[must_use]
    pub fn stream_name(&self) -> Option<&str> {
        self.stream.as_deref()
    }

    /// The session is on the engine; gateways will report its stream under the name `stream`.
    pub fn placed(mut self, stream: &str, now: Instant) -> EngineSession {
        // From here on the session's entry releases it in the ledger.
        let open_stream = self
            .stream
            .take()
            .filter(|open_stream| **open_stream == *stream);
        let name = open_stream.unwrap_or_else(|| stream.into());
        let mut guard = self.accounting.update();
        let state = &mut *guard;
        // Names are random; a name that comes twice nevertheless counts once.
        if let Some(known) = state.streams.get(&name) {
            let session = EngineSession::new(&self.accounting, known.session);
            drop(guard);
            return session;
        }
        let session = self.joined.unwrap_or_else(|| {
            let unprobed = state.add_unprobed(now, self.estimate);
            state.release(&self.estimate);
            let ledger_name = self.accounting.ledger.as_ref().map(|_| Arc::clone(&name));
            let session = state.add_session(now, unprobed, ledger_name);
            if let Some(key) = &self.key {
                state.add_to_key(key, session);
            }
            session
        });
        let record = Stream {
            since: now,
            unconfirmed: state.unconfirmed.push((now, Arc::clone(&name))),
            session,
            _slot: self.slot.take(),
        };
        state.streams.insert(name, record);
        drop(guard);
        self.placed = true;
        EngineSession::new(&self.accounting, session)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        let accounting = &self.accounting;
        if let (Some(ledger), Some(stream)) = (&accounting.ledger, &self.stream) {
            ledger.released(stream);
        }
        let mut state = accounting.update();
        match self.joined {
            None => state.release(&self.estimate),
            Some(session) => {
                state.leave(
                    session,
                    None,
                    &accounting.lifetime,
                    accounting.ledger.as_ref(),
                );
            }
        }
    }
}

/// Permits the trial of an ejected engine. When it is dropped without a result, the next trial is due at once.
#[derive(Debug)]
pub struct HalfOpenPermit(pub(super) Arc<EngineAccounting>);

impl Drop for HalfOpenPermit {
    fn drop(&mut self) {
        self.0.update().circuit_breaker.abandon_trial();
    }
}
