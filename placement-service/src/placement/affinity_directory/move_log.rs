//! Moves of keys in the event log, which every replica and gateway follows: they drop what they know of the key.

use crate::core::clock::Clock;
use berth_store::{Event, EventLog};
use std::sync::Arc;
use tokio::sync::Notify;
use tracing::warn;

/// Where moves are written.
pub struct MoveLog {
    pub log: Arc<dyn EventLog>,
    pub clock: Arc<dyn Clock>,
    /// Notified of each entry.
    pub appended: Arc<Notify>,
}

impl MoveLog {
    /// Writes a move. If the log does not answer, gateways use what they know until it expires.
    pub(super) async fn append(&self, key: String, epoch: u64) {
        let event = Event::key_moved(self.clock.now_ms(), key, epoch);
        match self.log.append(&[event]).await {
            Ok(()) => self.appended.notify_one(),
            Err(error) => warn!(%error, "the move of a key is not in the event log"),
        }
    }
}
