//! Activity that gateways report, until the sessions have recorded it: a short outage of the store must not let a
//! session expire as idle. Does not know who sent the report.

use super::Shared;
use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;

/// Maximum number of sessions looked up concurrently.
const MAX_CONCURRENT: usize = 32;
/// Maximum number of sessions remembered while the store is down.
const MAX_PENDING: usize = 100_000;

/// The latest activity of each session that could not be recorded yet. Milliseconds since the Unix epoch.
#[derive(Default)]
pub(super) struct PendingActivity(Mutex<HashMap<String, u64>>);

impl PendingActivity {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock()
    }
}

impl Shared {
    /// Records that these sessions are active now.
    pub(super) async fn record_active(&self, session_refs: &[String]) {
        let now_ms = self.clock.now_ms();
        let mut active = Vec::with_capacity(session_refs.len());
        for name in session_refs {
            active.push((name.clone(), now_ms));
        }
        self.record_activity(active).await;
    }

    /// Retries activity that could not be recorded.
    pub(super) async fn retry_activity(&self) {
        let pending = std::mem::take(&mut *self.pending_activity.lock());
        self.record_activity(pending.into_iter().collect()).await;
    }

    async fn record_activity(&self, active: Vec<(String, u64)>) {
        let writes = stream::iter(active).map(|(name, active_ms)| async move {
            let result = self.sessions.record_activity(&name, active_ms).await;
            result.err().map(|error| (name, active_ms, error))
        });
        let mut failures = writes.buffer_unordered(MAX_CONCURRENT);
        while let Some(failure) = failures.next().await {
            let Some((name, active_ms, error)) = failure else {
                continue;
            };
            tracing::debug!(%error, session = name, "activity not recorded");
            let mut pending = self.pending_activity.lock();
            if pending.len() < MAX_PENDING || pending.contains_key(&name) {
                let latest_ms = pending.entry(name).or_default();
                *latest_ms = active_ms.max(*latest_ms);
            }
        }
    }
}
