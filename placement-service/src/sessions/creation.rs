//! Creates sessions, and limits how many an account may have at once. Only sessions of logins count, not their
//! child sessions. Knows nothing of credentials.

use super::{NewSession, Sessions, store_down};
use crate::config::OnLimit;
use crate::core::rejection::Rejection;
use crate::sessions::LiveSession;
use berth_api::RejectReason;
use berth_store::session_id::SessionId;
use berth_store::{
    EndCause, Event, EventKind, InsertResult, PAYLOAD_VERSION, SessionQuery, SessionRow,
    SessionState, StoreError,
};
use std::sync::Arc;

/// How often a session is ended to make room for a new one: concurrent logins may take the free place.
const MAX_ATTEMPTS: u32 = 100;

impl Sessions {
    /// Creates a session under a new random id, which prevents session fixation. Only the browser may receive the id.
    pub async fn create(
        &self,
        new_session: NewSession,
    ) -> Result<(SessionId, Arc<LiveSession>), Rejection> {
        let id = SessionId::generate();
        let now_ms = self.clock.now_ms();
        let row = SessionRow {
            id_hash: id.hash(),
            session_ref: self.keys.session_ref(&id.hash()),
            payload_version: PAYLOAD_VERSION,
            account: new_session.account,
            display_name: new_session.display_name,
            roles: new_session.roles,
            created_at_ms: now_ms,
            last_seen_at_ms: now_ms,
            idle_timeout_ms: self.idle_timeout_ms,
            absolute_expiry_ms: now_ms.saturating_add(self.absolute_timeout_ms),
            ancestors: Vec::new(),
            runtime: self.runtime.clone(),
            state: SessionState::Active,
            claims: new_session.claims,
            provider: new_session.provider,
        };
        let kind = match new_session.previous_ref {
            Some(_) => EventKind::Renewed,
            None => EventKind::Created,
        };
        let event = Event {
            previous_ref: new_session.previous_ref,
            ..self.new_event(&row, kind)
        };
        for _ in 0..MAX_ATTEMPTS {
            let insert_result = self
                .insert_session(&row, self.max_per_account, event.clone())
                .await;
            match insert_result {
                Err(rejection) if rejection.reason == RejectReason::TooManySessions => {
                    let freeing = self.make_room(&row.account, event.previous_ref.as_deref());
                    if !freeing.await.map_err(|e| store_down(&e))? {
                        return Err(rejection);
                    }
                }
                insert_result => return Ok((id, insert_result?)),
            }
        }
        Err(RejectReason::TooManySessions.into())
    }

    /// Ends one session of an account that has reached its limit; `false` if the limit allows none to be ended. The
    /// session that the browser had before is ended first, whatever `on_limit` says.
    async fn make_room(&self, account: &str, previous: Option<&str>) -> Result<bool, StoreError> {
        if let Some(previous) = previous
            && self.end_by_ref(previous, EndCause::LoginAgain).await?
        {
            return Ok(true);
        }
        if self.on_limit == OnLimit::Reject {
            return Ok(false);
        }
        let select = SessionQuery::Account(account.to_owned());
        let rows = self.stores.sessions.list(&select, u32::MAX).await?;
        let now_ms = self.clock.now_ms();
        let counts = |row: &SessionRow| row.parent().is_none() && row.ends_at_ms() > now_ms;
        if let Some(oldest) = rows.into_iter().find(counts) {
            self.end_rows(vec![oldest], EndCause::SessionLimit, None)
                .await?;
        }
        // If the oldest has ended meanwhile, there is room too.
        Ok(true)
    }

    /// Stores a new session together with its event, and notifies followers of the log.
    pub(super) async fn insert_session(
        &self,
        row: &SessionRow,
        limit: Option<u32>,
        event: Event,
    ) -> Result<Arc<LiveSession>, Rejection> {
        let insert_result = self.stores.sessions.insert(row, limit, &event).await;
        if insert_result.map_err(|e| store_down(&e))? == InsertResult::LimitReached {
            return Err(RejectReason::TooManySessions.into());
        }
        self.metrics.count_session_created();
        self.log_appended.notify_one();
        Ok(Arc::new(super::live_session(row, &self.keys)))
    }
}
