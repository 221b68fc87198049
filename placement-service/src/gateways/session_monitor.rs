//! Monitors the sessions that have open streams. Expired ones are ended; gateways receive the end of a session
//! repeatedly until they have closed its streams; activity is recorded repeatedly until the store has it. Does not
//! decide when a session ends.

use super::engine_closures::EngineClosures;
use super::{Shared, close_reason};
use crate::core::ticker::ticker;
use crate::sessions::SessionStatus;
use berth_api::GatewayEvent;
use berth_store::{EndCause, StoreError};
use futures_util::StreamExt;
use futures_util::stream;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often due sessions are checked.
const INTERVAL: Duration = Duration::from_millis(250);
/// Sessions checked in one tick, and the maximum number checked concurrently.
const BATCH: usize = 1000;
const MAX_CONCURRENT_CHECKS: usize = 32;
/// Milliseconds until the next check of a session that is about to end or whose store is unavailable.
const RECHECK_MS: u64 = 500;
/// Milliseconds until gateways are notified again of a session's end.
const REPEAT_MS: u64 = 5_000;

pub(super) async fn run(shared: Arc<Shared>) {
    let mut ticks = ticker(INTERVAL);
    let mut closures = EngineClosures::default();
    let key_interval = shared.placement.key_activity_interval();
    let mut keys_recorded_at = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => closures.send(&shared),
            () = shared.sessions_due.notified() => {}
        }
        if keys_recorded_at.elapsed() >= key_interval {
            keys_recorded_at = Instant::now();
            for key in shared.registry().open_keys() {
                shared.placement.record_key_activity(&key);
            }
        }
        shared.tick().await;
    }
}

impl Shared {
    pub(super) async fn tick(&self) {
        let now_ms = self.clock.now_ms();
        let lost_gateways = self.registry().remove_silent(Instant::now());
        self.metrics.count_lost(lost_gateways);
        self.retry_activity().await;
        loop {
            let due_sessions = self.registry().sessions.take_due(now_ms, BATCH);
            let is_full_batch = due_sessions.len() == BATCH;
            let checks = stream::iter(due_sessions).map(|name| async move {
                let status = self.sessions.status(&name).await;
                (name, status)
            });
            let mut results = checks.buffer_unordered(MAX_CONCURRENT_CHECKS);
            while let Some((name, status)) = results.next().await {
                self.reschedule(&name, status);
            }
            if !is_full_batch {
                break;
            }
        }
    }

    fn reschedule(&self, session_ref: &str, status: Result<SessionStatus, StoreError>) {
        let now_ms = self.clock.now_ms();
        let next_check_ms = match status {
            Ok(SessionStatus::ActiveUntil(ends_ms)) => ends_ms.max(now_ms + 1),
            Ok(SessionStatus::Expired) => now_ms + RECHECK_MS,
            Ok(SessionStatus::Ended(cause)) => {
                let cause = cause.unwrap_or(EndCause::Other);
                self.notify_ended(session_ref, cause, now_ms);
                now_ms + REPEAT_MS
            }
            // The gateway itself closes the streams of a token when the token expires. With a read-only store, another
            // login service owns the sessions.
            Ok(SessionStatus::NotASession) | Err(StoreError::ReadOnly) => return,
            Err(error) => {
                tracing::debug!(%error, session = session_ref, "session status not checked");
                now_ms + RECHECK_MS
            }
        };
        self.registry()
            .sessions
            .schedule_check(session_ref, next_check_ms);
    }

    fn notify_ended(&self, session_ref: &str, cause: EndCause, now_ms: u64) {
        let reason = close_reason(cause);
        let gateways = self.registry().gateways_of(session_ref);
        for gateway in gateways {
            let session_ref = session_ref.to_owned();
            let event = GatewayEvent::SessionEnded {
                session_ref,
                reason,
            };
            self.outbox.push(Some(gateway), event, now_ms);
        }
    }
}
