//! One engine's entry in the ledger that replicas share: reports to it what happens in the engine's accounting. With a
//! single replica no engine has an entry.

use super::EngineAccounting;
use super::key_count::key_of_ledger_name;
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

    /// Reserves for a stream, within the limits.
    pub(super) async fn reserve(&self, stream: &Arc<str>, limits: CapacityLimits) -> LedgerReply {
        self.ledger.reserve(stream, &self.engine, limits).await
    }

    pub(super) fn opened(&self, stream: &Arc<str>) {
        self.ledger.opened(stream, &self.engine);
    }

    pub(super) fn released(&self, stream: &str) {
        self.ledger.released(stream);
    }
}

impl EngineAccounting {
    /// Sets the number of sessions on the engine through other replicas.
    pub fn set_remote_sessions(&self, count: u32, now: Instant) {
        let mut state = self.update();
        state.expire(&self.expiry(), now);
        state.remote.set(count, now);
    }

    /// Removes placements that no gateway has reported open in time, and sessions whose lifetime has passed.
    pub fn expire(&self, now: Instant) {
        self.lock().expire(&self.expiry(), now);
    }

    /// Another replica has the stream now, or knows that it is closed.
    pub fn transferred(&self, stream: &str) {
        let mut state = self.update();
        if let Some(key) = key_of_ledger_name(stream) {
            state.transfer_key(key);
            return;
        }
        let Some(record) = state.streams.remove(stream) else {
            return;
        };
        state.unconfirmed.take(record.unconfirmed);
        if state.transfer_session(record.session) {
            state.remote.adopt_probed();
        }
    }
}
