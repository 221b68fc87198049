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
        let unwritten = std::mem::take(&mut *self.pending_activity.lock());
        self.record_activity(unwritten.into_iter().collect()).await;
    }

    async fn record_activity(&self, active: Vec<(String, u64)>) {
        let said = stream::iter(active).map(|(name, seen_ms)| async move {
            let said = self.sessions.record_activity(&name, seen_ms).await;
            said.err().map(|error| (name, seen_ms, error))
        });
        let mut said = said.buffer_unordered(MAX_CONCURRENT);
        while let Some(missed) = said.next().await {
            let Some((name, seen_ms, error)) = missed else {
                continue;
            };
            tracing::debug!(%error, session = name, "activity not recorded");
            let mut unwritten = self.pending_activity.lock();
            if unwritten.len() < MAX_PENDING || unwritten.contains_key(&name) {
                let seen = unwritten.entry(name).or_default();
                *seen = seen_ms.max(*seen);
            }
        }
    }
}
