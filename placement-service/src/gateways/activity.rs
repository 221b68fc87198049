//! What gateways say of activity (S12), until the sessions have heard it: a store that is down for a moment must
//! not make anybody idle.

use super::Shared;
use futures_util::StreamExt;
use futures_util::stream;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sessions looked up at the same time.
const AT_ONCE: usize = 32;
/// Sessions remembered at the most while the store is down.
const MAX: usize = 100_000;

/// When each session was active, as far as the sessions have not heard it. Milliseconds since the Unix epoch.
#[derive(Default)]
pub(super) struct Unwritten(Mutex<HashMap<String, u64>>);

impl Unwritten {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// These sessions were active just now.
    pub(super) async fn were_active(&self, session_refs: &[String]) {
        let now_ms = self.clock.now_ms();
        let mut active = Vec::with_capacity(session_refs.len());
        for name in session_refs {
            active.push((name.clone(), now_ms));
        }
        self.say(active).await;
    }

    /// Says again what was not heard.
    pub(super) async fn repeat_activity(&self) {
        let unwritten = std::mem::take(&mut *self.unwritten.lock());
        self.say(unwritten.into_iter().collect()).await;
    }

    async fn say(&self, active: Vec<(String, u64)>) {
        let said = stream::iter(active).map(|(name, seen_ms)| async move {
            let said = self.sessions.was_active(&name, seen_ms).await;
            said.err().map(|error| (name, seen_ms, error))
        });
        let mut said = said.buffer_unordered(AT_ONCE);
        while let Some(missed) = said.next().await {
            let Some((name, seen_ms, error)) = missed else {
                continue;
            };
            tracing::debug!(%error, session = name, "activity not noted");
            let mut unwritten = self.unwritten.lock();
            if unwritten.len() < MAX || unwritten.contains_key(&name) {
                let seen = unwritten.entry(name).or_default();
                *seen = seen_ms.max(*seen);
            }
        }
    }
}
