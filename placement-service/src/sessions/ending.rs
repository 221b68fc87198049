//! Ends sessions, for every cause. The store removes the rows and logs the events in one step; this process rejects
//! the sessions from then on, writes an audit line, counts the cause, and ends the child sessions.

use super::{LiveSession, Sessions, live_session, store_down};
use crate::core::rejection::Rejection;
use berth_api::RejectReason;
use berth_store::session_id::IdHash;
use berth_store::{EndCause, Event, SessionQuery, SessionRemoval, SessionRow, StoreError};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Notify;

/// Maximum number of sessions removed in one step.
pub(super) const BATCH: u32 = 500;

impl Sessions {
    /// Ends the session that a cookie names. `None` if it named no active session.
    pub async fn end_by_cookie(
        &self,
        cookie: &str,
        cause: EndCause,
    ) -> Result<Option<Arc<LiveSession>>, Rejection> {
        let id = match self.lookup(cookie).await {
            Ok((id, _)) => id,
            Err(rejection) if rejection.reason == RejectReason::StoreDown => return Err(rejection),
            Err(_) => return Ok(None),
        };
        let row = self.stores.sessions.find(&id).await;
        let Some(row) = row.map_err(|e| store_down(&e))? else {
            return Ok(None);
        };
        let live = Arc::new(live_session(&row, &self.keys));
        let result = self.end_rows(vec![row], cause, None).await;
        let count = result.map_err(|e| store_down(&e))?;
        Ok((count > 0).then_some(live))
    }

    /// Ends the session with that `session_ref`; `false` if there is none.
    pub async fn end_by_ref(&self, session_ref: &str, cause: EndCause) -> Result<bool, StoreError> {
        match self.stores.sessions.find_by_ref(session_ref).await? {
            Some(row) => Ok(self.end_rows(vec![row], cause, None).await? > 0),
            None => Ok(false),
        }
    }

    /// Ends all selected sessions, and returns how many, not counting their child sessions.
    pub async fn end_selected(
        &self,
        select: &SessionQuery,
        cause: EndCause,
    ) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let rows = self.stores.sessions.list(select, BATCH).await?;
            // Everything listed is removed afterwards, by this process or by another, so the next list differs.
            let is_last_batch = rows.len() < BATCH as usize;
            total += self.end_rows(rows, cause, None).await?;
            if is_last_batch {
                return Ok(total);
            }
        }
    }

    /// Called for each end in the event log, which another process may have caused.
    pub(crate) fn on_session_ended(&self, session_ref: &str, runtime: &str, cause: EndCause) {
        self.cache.remember_runtime(session_ref, runtime);
        if let Some(id) = self.cache.mark_ended_by_ref(session_ref, cause) {
            self.activity.forget(&id);
        }
    }

    /// Invalidates the cache: other processes may have ended any session.
    pub(crate) fn invalidate_all(&self) {
        self.cache.invalidate_active();
    }

    /// Notified when this process has appended to the event log.
    pub(crate) fn log_appended(&self) -> Arc<Notify> {
        self.log_appended.clone()
    }

    /// Ends these sessions and all their descendants. Each row is removed by one process only, so this terminates even
    /// if rows form a cycle.
    pub(super) async fn end_rows(
        &self,
        rows: Vec<SessionRow>,
        cause: EndCause,
        result: Option<Value>,
    ) -> Result<u64, StoreError> {
        let over_at = cause.is_expiry().then(|| self.expiry_cutoff_ms());
        let endings = rows.iter().map(|row| SessionRemoval {
            id_hash: row.id_hash,
            only_if_expired_at_ms: over_at,
            event: Event {
                cause: Some(cause),
                result: result.clone(),
                ..self.new_event(row, cause.event_kind())
            },
        });
        let mut removed_ids = self.remove_rows(endings.collect(), &rows).await?;
        let first = u64::try_from(removed_ids.len()).unwrap_or(u64::MAX);
        while let Some(parent) = removed_ids.pop() {
            let children = SessionQuery::ChildrenOf(parent);
            let rows = self.stores.sessions.list(&children, BATCH).await?;
            let endings = rows.iter().map(|row| SessionRemoval {
                id_hash: row.id_hash,
                only_if_expired_at_ms: None,
                event: Event {
                    cause: Some(EndCause::ParentEnded),
                    ..self.new_event(row, EndCause::ParentEnded.event_kind())
                },
            });
            let removed = self.remove_rows(endings.collect(), &rows).await?;
            if !removed.is_empty() && rows.len() == BATCH as usize {
                removed_ids.push(parent);
            }
            removed_ids.extend(removed);
        }
        Ok(first)
    }

    /// Removes these sessions, and returns those that this call removed.
    async fn remove_rows(
        &self,
        endings: Vec<SessionRemoval>,
        rows: &[SessionRow],
    ) -> Result<Vec<IdHash>, StoreError> {
        if endings.is_empty() {
            return Ok(Vec::new());
        }
        // Marked first, so that requests are rejected whatever the store does next. A session that ends by time may
        // have been active meanwhile: it is marked only after the store has removed it.
        let is_unconditional = |removal: &&SessionRemoval| removal.only_if_expired_at_ms.is_none();
        for removal in endings.iter().filter(is_unconditional) {
            self.cache.mark_ended(removal.id_hash, event_cause(removal));
        }
        // Before the removal: a reader of the log may see a child's end before this process has handled the parent's.
        for row in rows {
            self.cache.remember_runtime(&row.session_ref, &row.runtime);
        }
        let removed = match self.stores.sessions.remove(&endings).await {
            Ok(removed) => removed,
            Err(error) => {
                for removal in endings.iter().filter(is_unconditional) {
                    self.cache.unmark_ended(&removal.id_hash);
                }
                return Err(error);
            }
        };
        self.log_appended.notify_one();
        for (row, removal) in rows.iter().zip(&endings) {
            if removed.contains(&row.id_hash) {
                self.record_end(removal);
            }
        }
        Ok(removed)
    }

    fn record_end(&self, removal: &SessionRemoval) {
        let (event, cause) = (&removal.event, event_cause(removal));
        self.cache.mark_ended(removal.id_hash, cause);
        self.activity.forget(&removal.id_hash);
        self.metrics.count_session_ended(cause);
        tracing::info!(target: "berth::audit", event = "session-ended", cause = cause.as_str(),
            account = event.account, session = event.session_ref);
    }
}

/// The cause of an ending; its event always has one.
fn event_cause(removal: &SessionRemoval) -> EndCause {
    removal.event.cause.unwrap_or(EndCause::Other)
}

/// Runs the work in a task of its own, so that it completes although the client disconnects. Otherwise sessions could
/// be left half ended, or active although the user logged out. The work is a few store calls, each with a timeout.
pub async fn run_detached<T: Send + 'static>(
    operation: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::spawn(operation).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down, and the caller with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn detached_work_completes_although_its_caller_is_dropped() {
        let (start_sender, start_receiver) = oneshot::channel::<()>();
        let (end, end_receiver) = oneshot::channel();
        let detached = run_detached(async move {
            start_receiver.await.unwrap();
            end.send(7).unwrap();
        });
        assert!(detached.now_or_never().is_none(), "completed too early");
        start_sender.send(()).unwrap();
        assert_eq!(end_receiver.await, Ok(7));
        assert_eq!(run_detached(async { 8 }).await, 8);
    }
}
