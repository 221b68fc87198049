//! How sessions end, whoever ends them: the store forgets them and logs it in one step, this process lets
//! them in no more, an audit line and a count say why, and those that they had started end with them.

use super::{LiveSession, Sessions, live_session, store_down};
use crate::core::rejection::Refusal;
use berth_api::Reason;
use berth_store::session_id::IdHash;
use berth_store::{EndCause, Ending, Event, Select, SessionRow, StoreError};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Notify;

/// Sessions ended in one step.
pub(super) const BATCH: u32 = 500;

impl Sessions {
    /// Ends the session that a cookie names (S22). `None` when it named none that lived.
    pub async fn end(
        &self,
        cookie: &str,
        cause: EndCause,
    ) -> Result<Option<Arc<LiveSession>>, Refusal> {
        let id = match self.lookup(cookie).await {
            Ok((id, _)) => id,
            Err(refusal) if refusal.reason == Reason::StoreDown => return Err(refusal),
            Err(_) => return Ok(None),
        };
        let row = self.stores.sessions.find(&id).await;
        let Some(row) = row.map_err(|e| store_down(&e))? else {
            return Ok(None);
        };
        let live = Arc::new(live_session(&row, &self.keys));
        let ended = self.end_rows(vec![row], cause, None).await;
        let ended = ended.map_err(|e| store_down(&e))?;
        Ok((ended > 0).then_some(live))
    }

    /// Ends the session of that public name; `false` when there is none.
    pub async fn end_ref(&self, session_ref: &str, cause: EndCause) -> Result<bool, StoreError> {
        match self.stores.sessions.find_by_ref(session_ref).await? {
            Some(row) => Ok(self.end_rows(vec![row], cause, None).await? > 0),
            None => Ok(false),
        }
    }

    /// Ends every session that a list is of; how many ended, without those that these had started.
    pub async fn end_all(&self, select: &Select, cause: EndCause) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let rows = self.stores.sessions.list(select, BATCH).await?;
            // Whatever is listed is gone afterwards, by this process or by another.
            let last = rows.len() < BATCH as usize;
            all += self.end_rows(rows, cause, None).await?;
            if last {
                return Ok(all);
            }
        }
    }

    /// The event log tells of a session's end, which another process may have brought.
    pub(crate) fn hear_of_end(&self, session_ref: &str, runtime: &str, cause: EndCause) {
        self.memory.keep_runtime(session_ref, runtime);
        if let Some(id) = self.memory.ended_elsewhere(session_ref, cause) {
            self.activity.forget(&id);
        }
    }

    /// Other processes may have ended any session: nothing in memory counts any more.
    pub(crate) fn hear_of_anything(&self) {
        self.memory.forget_live();
    }

    /// Rings when this process has added to the event log.
    pub(crate) fn news(&self) -> Arc<Notify> {
        self.news.clone()
    }

    /// Ends these, then those that they had started, and so on. Each row is removed by one process only,
    /// so this comes to an end on any data.
    pub(super) async fn end_rows(
        &self,
        rows: Vec<SessionRow>,
        cause: EndCause,
        result: Option<Value>,
    ) -> Result<u64, StoreError> {
        let over_at = cause.is_by_time().then(|| self.surely_over_ms());
        let endings = rows.iter().map(|row| Ending {
            id_hash: row.id_hash,
            only_if_over_at_ms: over_at,
            event: Event {
                cause: Some(cause),
                result: result.clone(),
                ..self.event(row, cause.kind())
            },
        });
        let mut ended = self.end_each(endings.collect(), &rows).await?;
        let first = u64::try_from(ended.len()).unwrap_or(u64::MAX);
        while let Some(parent) = ended.pop() {
            let children = Select::ChildrenOf(parent);
            let rows = self.stores.sessions.list(&children, BATCH).await?;
            let endings = rows.iter().map(|row| Ending {
                id_hash: row.id_hash,
                only_if_over_at_ms: None,
                event: Event {
                    cause: Some(EndCause::ParentEnded),
                    ..self.event(row, EndCause::ParentEnded.kind())
                },
            });
            let removed = self.end_each(endings.collect(), &rows).await?;
            if !removed.is_empty() && rows.len() == BATCH as usize {
                ended.push(parent);
            }
            ended.extend(removed);
        }
        Ok(first)
    }

    /// Those that have ended here and now.
    async fn end_each(
        &self,
        endings: Vec<Ending>,
        rows: &[SessionRow],
    ) -> Result<Vec<IdHash>, StoreError> {
        if endings.is_empty() {
            return Ok(Vec::new());
        }
        // First, so that from here on nobody is let in, whatever the store does next; but those that may
        // have been active meanwhile only when they have ended.
        let sure = |ending: &&Ending| ending.only_if_over_at_ms.is_none();
        for ending in endings.iter().filter(sure) {
            self.memory.ended(ending.id_hash, cause_of(ending));
        }
        // Whoever reads of its children's ends may be quicker than who hears of its own.
        for row in rows {
            self.memory.keep_runtime(&row.session_ref, &row.runtime);
        }
        let removed = match self.stores.sessions.remove(&endings).await {
            Ok(removed) => removed,
            Err(error) => {
                for ending in endings.iter().filter(sure) {
                    self.memory.not_ended(&ending.id_hash);
                }
                return Err(error);
            }
        };
        self.news.notify_one();
        for (row, ending) in rows.iter().zip(&endings) {
            if removed.contains(&row.id_hash) {
                self.has_ended(ending);
            }
        }
        Ok(removed)
    }

    fn has_ended(&self, ending: &Ending) {
        let (event, cause) = (&ending.event, cause_of(ending));
        self.memory.ended(ending.id_hash, cause);
        self.activity.forget(&ending.id_hash);
        self.metrics.session_ended(cause);
        tracing::info!(target: "berth::audit", event = "session-ended", cause = cause.as_str(),
            account = event.account, session = event.session_ref);
    }
}

/// Events of an end always have one.
fn cause_of(ending: &Ending) -> EndCause {
    ending.event.cause.unwrap_or(EndCause::Other)
}

/// Does the work although whoever asked for it goes away: a client that hangs up must leave no session half ended,
/// and none that its user thinks over. What goes on so takes a few calls of the store, each with its time limit.
pub async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and whoever waits with it.
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
    async fn work_goes_on_when_nobody_waits_for_it_any_more() {
        let (begin, begun) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let work = to_the_end(async move {
            begun.await.unwrap();
            end.send(7).unwrap();
        });
        assert!(work.now_or_never().is_none(), "given up");
        begin.send(()).unwrap();
        assert_eq!(ended.await, Ok(7));
        assert_eq!(to_the_end(async { 8 }).await, 8);
    }
}
