//! The background task of keys: writes their activity to the store, and removes keys that have expired.

use super::keys::KeyDirectory;
use crate::core::ticker::ticker;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

/// How often activity is written.
const INTERVAL: Duration = Duration::from_secs(1);
/// Expired keys are removed once in this number of intervals.
const SWEEP_INTERVALS: u32 = 10;
/// Maximum number of keys that are removed at once.
const SWEEP_BATCH: u32 = 1000;

/// The task. Dropping this ends it.
#[derive(Debug)]
pub(super) struct KeyUpkeep(AbortHandle);

impl Drop for KeyUpkeep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl KeyUpkeep {
    pub(super) fn start(keys: &Arc<KeyDirectory>) -> Self {
        Self(tokio::spawn(run(Arc::clone(keys))).abort_handle())
    }
}

async fn run(keys: Arc<KeyDirectory>) {
    let mut ticks = ticker(INTERVAL);
    let mut interval = 0_u32;
    let mut is_failing = false;
    loop {
        ticks.tick().await;
        interval = interval.wrapping_add(1);
        let flushed = keys.directory.flush_activity(Instant::now()).await;
        let swept = if interval.is_multiple_of(SWEEP_INTERVALS) {
            keys.directory.sweep(SWEEP_BATCH).await
        } else {
            Ok(0)
        };
        match flushed.and(swept) {
            Ok(removed) => {
                is_failing = false;
                if removed > 0 {
                    debug!(removed, "keys without activity have lost their engines");
                }
            }
            Err(error) if is_failing => debug!(%error, "the activity of keys is not written"),
            Err(error) => {
                is_failing = true;
                warn!(%error, "the activity of keys is not written: it is kept");
            }
        }
    }
}
