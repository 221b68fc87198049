//! Sessions as operators see them: without anything that could authenticate as the user. Changes nothing.

use super::cache::CachedSession;
use super::{ChildSessionError, LiveSession, Sessions};
use berth_store::{SessionQuery, SessionRow, StoreError};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Maximum number of sessions in one list.
const MAX_LISTED: u32 = 1000;
/// A time at which every session has expired, and the latest that all stores can represent.
const FAR_FUTURE_MS: u64 = i64::MAX as u64;

/// An active session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView {
    pub session_ref: String,
    /// The key of the account: a local account's name, or `provider:name`.
    pub account: String,
    /// The user's name for people.
    pub display_name: String,
    pub roles: Vec<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds. Behind by up to the write interval, as activity is written to the store only from time to time.
    pub last_seen_at: u64,
    /// Seconds until the session expires if there is no more activity.
    pub idle_remaining_s: u64,
    /// Seconds until its absolute expiry.
    pub absolute_remaining_s: u64,
    /// The runtime that the session belongs to.
    pub runtime: String,
    /// The parent session.
    pub parent_ref: Option<String>,
    /// The identity provider of its login, by its name in the configuration.
    pub provider: Option<String>,
}

/// Sessions, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Sessions)]
pub struct SessionList {
    pub sessions: Vec<SessionView>,
    /// There are more sessions than fit into one list.
    pub more: bool,
}

impl Sessions {
    /// The runtime of an active or recently ended session, which never changes. `None` if it ended long ago.
    pub async fn runtime_of(&self, session_ref: &str) -> Result<Option<String>, StoreError> {
        if let Some(runtime) = self.cache.runtime_of(session_ref) {
            return Ok(Some(runtime));
        }
        let row = self.stores.sessions.find_by_ref(session_ref).await?;
        Ok(row.map(|row| row.runtime))
    }

    /// The account of an active session. `None` if there is none, such as of a program's token without a session, or if
    /// another login service owns the sessions.
    pub async fn account_of(&self, session_ref: &str) -> Result<Option<String>, StoreError> {
        if let Some((_, session)) = self.cache.get_by_ref(session_ref) {
            return Ok(Some(session.live.account.clone()));
        }
        match self.stores.sessions.find_by_ref(session_ref).await {
            Ok(row) => Ok(row.map(|row| row.account)),
            Err(StoreError::ReadOnly) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The active sessions of an account, or of all accounts.
    pub async fn list(&self, account: Option<&str>) -> Result<SessionList, StoreError> {
        let select = account.map_or(SessionQuery::ExpiredAt(FAR_FUTURE_MS), |account| {
            SessionQuery::Account(account.to_owned())
        });
        let rows = self.stores.sessions.list(&select, MAX_LISTED).await?;
        let has_more = rows.len() == MAX_LISTED as usize;
        let sessions = rows.into_iter().filter_map(|row| self.view(row));
        Ok(SessionList {
            sessions: sessions.collect(),
            more: has_more,
        })
    }

    /// The session with that `session_ref`. It and its ancestors are active, and `runtime`, the caller's, is that of
    /// one of them; `None` is an operator or the service itself.
    pub async fn find_active(
        &self,
        session_ref: &str,
        runtime: Option<&str>,
    ) -> Result<SessionView, ChildSessionError> {
        let family = self.active_with_ancestors(session_ref, runtime).await?;
        let session = family.into_iter().next().and_then(|row| self.view(row));
        session.ok_or(ChildSessionError::NoSuchSession)
    }

    /// The session with that `session_ref` as the rest of the service uses it. It and its ancestors are active.
    pub(super) async fn find_live(
        &self,
        session_ref: &str,
    ) -> Result<Arc<LiveSession>, ChildSessionError> {
        let family = self.active_with_ancestors(session_ref, None).await?;
        let row = family.into_iter().next();
        let session = row.map(|row| CachedSession::new(row, &self.keys, &self.activity));
        let session = session.ok_or(ChildSessionError::NoSuchSession)?;
        Ok(session.live)
    }

    fn view(&self, row: SessionRow) -> Option<SessionView> {
        let session = CachedSession::new(row, &self.keys, &self.activity);
        let (idle_ms, absolute_ms) = session.remaining_ms(self.clock.now_ms())?;
        let live = &session.live;
        Some(SessionView {
            session_ref: live.session_ref.clone(),
            account: live.account.clone(),
            display_name: live.display_name.clone(),
            roles: live.roles.clone(),
            created_at: live.created_at,
            last_seen_at: session.last_seen_ms() / 1000,
            idle_remaining_s: idle_ms.min(absolute_ms) / 1000,
            absolute_remaining_s: absolute_ms / 1000,
            runtime: live.runtime.clone(),
            parent_ref: live.parent_ref.clone(),
            provider: live.provider_name().map(str::to_owned),
        })
    }
}
