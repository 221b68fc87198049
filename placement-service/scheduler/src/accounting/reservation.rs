//! A reservation, from the selection of an engine until gateways report the stream: confirmed by the replicas' ledger,
//! then placed, or released when it is dropped. And the permit to try an ejected engine.

use super::EngineAccounting;
use super::pending_cost::CostEstimate;
use super::state::Stream;
use super::stream_counts::StreamSlot;
use crate::capacity_ledger::{CapacityLimits, LedgerReply};
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tokio::time::Instant;

/// One session that counts on an engine before it is there.
#[derive(Debug)]
#[must_use = "dropping it releases the reservation"]
pub struct Reservation {
    pub(super) accounting: Arc<EngineAccounting>,
    pub(super) estimate: CostEstimate,
    pub(super) slot: Option<StreamSlot>,
    /// The name under which the ledger knows it.
    pub(super) stream: Option<Arc<str>>,
    /// It counts under its stream's name.
    pub(super) placed: bool,
}

impl Reservation {
    /// Makes the stream count for its login session as long as it counts on the engine.
    pub fn attach_slot(&mut self, slot: StreamSlot) {
        self.slot = Some(slot);
    }

    /// Reserves in the replicas' ledger, if there is one. `stream` generates the name under which gateways will report
    /// the stream.
    pub async fn confirm(&mut self, stream: fn() -> String, limits: CapacityLimits) -> LedgerReply {
        let accounting = Arc::clone(&self.accounting);
        let Some(entry) = &accounting.ledger else {
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
    pub fn placed(mut self, stream: &str, now: Instant) {
        // From here on the stream's entry releases it in the ledger.
        let open_stream = self
            .stream
            .take()
            .filter(|open_stream| **open_stream == *stream);
        let name = open_stream.unwrap_or_else(|| stream.into());
        let mut guard = self.accounting.update();
        let state = &mut *guard;
        // Names are random; a name that comes twice nevertheless counts once.
        let Entry::Vacant(entry) = state.streams.entry(Arc::clone(&name)) else {
            return;
        };
        state.pending_cost.placed(&self.estimate);
        entry.insert(Stream {
            since: now,
            unconfirmed: state.unconfirmed.push((now, name)),
            unprobed: state.unprobed.push((now, self.estimate)),
            _slot: self.slot.take(),
        });
        state.release(&self.estimate);
        drop(guard);
        self.placed = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        if let (Some(ledger), Some(stream)) = (&self.accounting.ledger, &self.stream) {
            ledger.released(stream);
        }
        self.accounting.update().release(&self.estimate);
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
