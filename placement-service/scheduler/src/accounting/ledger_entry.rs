//! One engine's entry in the ledger that replicas share: reports to it what happens in the engine's accounting. With a
//! single replica no engine has an entry.

use super::{EngineAccounting, Reservation};
use crate::capacity_ledger::{CapacityLedger, CapacityLimits, LedgerReply};
use std::sync::Arc;
use tokio::time::Instant;

/// The entry of one engine.
#[derive(Debug)]
pub struct LedgerEntry {
    ledger: Arc<dyn CapacityLedger>,
    /// `pool/name`
    engine: Arc<str>,
}

impl LedgerEntry {
    pub(super) fn new(ledger: Arc<dyn CapacityLedger>, engine: Arc<str>) -> Self {
        Self { ledger, engine }
    }

    pub(super) fn opened(&self, stream: &Arc<str>) {
        self.ledger.opened(stream, &self.engine);
    }

    pub(super) fn released(&self, stream: &str) {
        self.ledger.released(stream);
    }
}

impl Reservation {
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
        let confirmed = entry.ledger.reserve(&stream, &entry.engine, limits).await;
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
}

impl EngineAccounting {
    /// Sets the number of sessions on the engine through other replicas.
    pub fn set_remote_sessions(&self, count: u32, now: Instant) {
        let mut state = self.update();
        state.expire(self.ttl, now, self.ledger.as_ref());
        state.remote.set(count, now);
    }

    /// Removes placements that no gateway has reported open in time.
    pub fn expire(&self, now: Instant) {
        self.lock().expire(self.ttl, now, self.ledger.as_ref());
    }

    /// Another replica has the stream now, or knows that it is closed.
    pub fn transferred(&self, stream: &str) {
        let mut state = self.update();
        let Some(record) = state.streams.remove(stream) else {
            return;
        };
        state.unconfirmed.take(record.unconfirmed);
        if !state.remove_unprobed(record.unprobed) {
            state.remote.adopt_probed();
        }
    }
}
