//! What the user of a session sees of the own account: its logins, which the user can end. A child session belongs to
//! the login that it descends from, and ends with it. Decides no credentials.

use super::cache::CachedSession;
use super::ending::BATCH;
use super::{LiveSession, Sessions};
use berth_store::session_id::IdHash;
use berth_store::{EndCause, SessionQuery, SessionRow, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

/// An active login of the user's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct OwnLogin {
    pub session_ref: String,
    /// Unix seconds of the login.
    pub created_at: u64,
    /// Unix seconds; some minutes behind while the session is in use.
    pub last_seen_at: u64,
    /// Whether the request belongs to this login.
    pub current: bool,
}

impl Sessions {
    /// The active logins of the session's account, oldest first.
    pub async fn list_own(&self, session: &LiveSession) -> Result<Vec<OwnLogin>, StoreError> {
        let root = self.login_of(session).await?;
        let rows = self.logins_of_account(session).await?;
        let now_ms = self.clock.now_ms();
        let own_logins = rows.into_iter().filter_map(|row| {
            let id = row.id_hash;
            let session = CachedSession::new(row, &self.keys, &self.activity);
            session.remaining_ms(now_ms)?;
            Some(OwnLogin {
                session_ref: session.live.session_ref.clone(),
                created_at: session.live.created_at,
                last_seen_at: session.last_seen_ms() / 1000,
                current: Some(id) == root,
            })
        });
        Ok(own_logins.collect())
    }

    /// Ends a session of the same account; `false` if it is none.
    pub async fn end_own(
        &self,
        session: &LiveSession,
        session_ref: &str,
    ) -> Result<bool, StoreError> {
        let row = self.stores.sessions.find_by_ref(session_ref).await?;
        match row.filter(|row| row.account == session.account) {
            Some(row) => Ok(self.end_rows(vec![row], EndCause::Logout, None).await? > 0),
            None => Ok(false),
        }
    }

    /// Ends all logins of the session's account but the one that the session belongs to, and returns their number.
    pub async fn end_others(
        &self,
        session: &LiveSession,
        cause: EndCause,
    ) -> Result<u64, StoreError> {
        let root = self.login_of(session).await?;
        let mut others = self.logins_of_account(session).await?;
        others.retain(|row| Some(row.id_hash) != root);
        let mut total = 0;
        for batch in others.chunks(BATCH as usize) {
            total += self.end_rows(batch.to_vec(), cause, None).await?;
        }
        Ok(total)
    }

    /// The login that the session is or descends from; `None` if the session has ended.
    async fn login_of(&self, session: &LiveSession) -> Result<Option<IdHash>, StoreError> {
        let row = self
            .stores
            .sessions
            .find_by_ref(&session.session_ref)
            .await?;
        Ok(row.map(|row| row.ancestors.last().copied().unwrap_or(row.id_hash)))
    }

    async fn logins_of_account(
        &self,
        session: &LiveSession,
    ) -> Result<Vec<SessionRow>, StoreError> {
        let query = SessionQuery::Account(session.account.clone());
        let mut rows = self.stores.sessions.list(&query, u32::MAX).await?;
        rows.retain(|row| row.parent().is_none());
        Ok(rows)
    }
}
