//! Handles that are held while a placement is under way and take effect when they are dropped: the reservation, and the
//! permit to try an ejected engine.

use super::EngineAccounting;
use super::pending_cost::CostEstimate;
use super::state::Stream;
use super::stream_counts::StreamSlot;
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
