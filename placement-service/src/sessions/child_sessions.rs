//! Child sessions. An active session starts child sessions, on this runtime or on another; a child completes with a
//! result for its parent; the end of a session ends its descendants. Decides who may do so, and knows nothing of HTTP.

use super::cache::CachedSession;
use super::{LiveSession, Sessions, millis, store_down};
use crate::core::rejection::Rejection;
use berth_store::session_id::{IdHash, SessionId};
use berth_store::{
    EndCause, EventKind, PAYLOAD_VERSION, ProviderLink, SessionRow, SessionState, StoreError,
};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of generations below a login.
const MAX_DEPTH: usize = 8;

/// Maximum size of a session's additional claims, in bytes of JSON: the token must fit into a header.
pub const MAX_CLAIMS_BYTES: usize = 8 * 1024;

/// The input for a new child session.
#[derive(Clone, Debug)]
pub struct NewChildSession {
    /// The runtime that the child session is for.
    pub runtime: String,
    /// `None`: the configured one.
    pub idle_timeout: Option<Duration>,
    /// Additional claims of the token, added to those of the parent. None may replace a claim of the parent.
    pub claims: Map<String, Value>,
}

/// Why a child session is not started or completed, or a session is not shown.
#[derive(Debug, PartialEq, Eq)]
pub enum ChildSessionError {
    /// No active session has that name, or one of its ancestors is not active.
    NoSuchSession,
    /// Neither the session nor any ancestor belongs to the runtime.
    OtherRuntime,
    TooDeep,
    /// The session is its own ancestor in the store.
    Cycle,
    /// Together with the parent's, the claims exceed [`MAX_CLAIMS_BYTES`].
    TooManyClaims,
    /// The parent has this claim, with another value.
    InheritedClaim(String),
    /// The session is one of a login, not a child session.
    NotAChild,
    /// The store is unavailable, or the service failed.
    Rejected(Rejection),
}

impl From<StoreError> for ChildSessionError {
    fn from(error: StoreError) -> Self {
        Self::Rejected(store_down(&error))
    }
}

impl Sessions {
    /// Starts a child session, which counts as activity of the parent. The child has the parent's account and roles,
    /// and ends when the parent ends, or before. `runtime` is the caller, `None` for an operator.
    pub async fn start_child(
        &self,
        parent_ref: &str,
        runtime: Option<&str>,
        new_session: NewChildSession,
    ) -> Result<(SessionId, Arc<LiveSession>), ChildSessionError> {
        let family = self.active_with_ancestors(parent_ref, runtime).await?;
        let Some(parent) = family.first() else {
            return Err(ChildSessionError::NoSuchSession);
        };
        if parent.ancestors.len() >= MAX_DEPTH {
            return Err(ChildSessionError::TooDeep);
        }
        let inherited = |(name, value): &(&String, &Value)| {
            parent.claims.get(*name).is_some_and(|own| own != *value)
        };
        if let Some((name, _)) = new_session.claims.iter().find(inherited) {
            return Err(ChildSessionError::InheritedClaim(name.clone()));
        }
        let id = SessionId::generate();
        let row = self.child_row(id.hash(), parent, new_session);
        let claims = serde_json::to_vec(&row.claims).map_or(usize::MAX, |text| text.len());
        if claims > MAX_CLAIMS_BYTES {
            return Err(ChildSessionError::TooManyClaims);
        }
        let event = self.new_event(&row, EventKind::Created);
        let live = self.insert_session(&row, None, event).await;
        let live = live.map_err(ChildSessionError::Rejected)?;
        // If another process ended the parent meanwhile, it did not know of this child.
        if self.stores.sessions.find(&parent.id_hash).await?.is_none() {
            self.end_rows(vec![row], EndCause::ParentEnded, None)
                .await?;
            return Err(ChildSessionError::NoSuchSession);
        }
        tracing::info!(target: "berth::audit", event = "child-started", account = live.account,
            session = live.session_ref, parent = parent_ref, runtime = live.runtime);
        let now_ms = self.clock.now_ms();
        for row in family {
            let id = row.id_hash;
            let session = self.cache_row(row);
            self.record_own_activity(id, &session, now_ms);
        }
        Ok((id, live))
    }

    /// Ends a child session with a result, which the event log delivers to its parent.
    pub async fn complete_child(
        &self,
        child_ref: &str,
        runtime: Option<&str>,
        result: Value,
    ) -> Result<(), ChildSessionError> {
        let family = self.active_with_ancestors(child_ref, runtime).await?;
        let Some(child) = family.into_iter().next() else {
            return Err(ChildSessionError::NoSuchSession);
        };
        if child.parent().is_none() {
            return Err(ChildSessionError::NotAChild);
        }
        let completed = EndCause::Completed;
        match self.end_rows(vec![child], completed, Some(result)).await? {
            0 => Err(ChildSessionError::NoSuchSession),
            _ => Ok(()),
        }
    }

    fn child_row(
        &self,
        id_hash: IdHash,
        parent: &SessionRow,
        new_session: NewChildSession,
    ) -> SessionRow {
        let now_ms = self.clock.now_ms();
        let idle_timeout_ms = new_session
            .idle_timeout
            .or(self.child_idle_timeout)
            .map_or(parent.idle_timeout_ms, millis);
        if idle_timeout_ms != parent.idle_timeout_ms {
            tracing::warn!(
                parent = parent.session_ref,
                parent_idle_timeout_s = parent.idle_timeout_ms / 1000,
                child_idle_timeout_s = idle_timeout_ms / 1000,
                "the idle timeout of a child session differs from its parent's"
            );
        }
        let absolute_expiry_ms = now_ms.saturating_add(self.absolute_timeout_ms);
        let mut claims = parent.claims.clone();
        claims.extend(new_session.claims);
        let ancestors = std::iter::once(parent.id_hash).chain(parent.ancestors.iter().copied());
        SessionRow {
            id_hash,
            session_ref: self.keys.session_ref(&id_hash),
            payload_version: PAYLOAD_VERSION,
            account: parent.account.clone(),
            display_name: parent.display_name.clone(),
            roles: parent.roles.clone(),
            created_at_ms: now_ms,
            last_seen_at_ms: now_ms,
            idle_timeout_ms,
            absolute_expiry_ms: absolute_expiry_ms.min(parent.absolute_expiry_ms),
            ancestors: ancestors.collect(),
            runtime: new_session.runtime,
            state: SessionState::Active,
            claims,
            // Identifies the account. Only the session of the login can log out at the provider.
            provider: parent.provider.as_ref().map(|link| ProviderLink {
                logout_hint: None,
                ..link.clone()
            }),
        }
    }

    /// The session of that name and its ancestors, as they are in the store now. All of them are active, and one
    /// belongs to the caller's runtime. `None` is an operator or the service itself.
    pub(super) async fn active_with_ancestors(
        &self,
        session_ref: &str,
        runtime: Option<&str>,
    ) -> Result<Vec<SessionRow>, ChildSessionError> {
        let row = self.stores.sessions.find_by_ref(session_ref).await?;
        let row = row.ok_or(ChildSessionError::NoSuchSession)?;
        if has_ancestor_cycle(&row) {
            tracing::error!(
                session = row.session_ref,
                "the ancestors of a session contain a cycle"
            );
            return Err(ChildSessionError::Cycle);
        }
        let ancestors = row.ancestors.clone();
        let mut family = vec![row];
        for id in &ancestors {
            let row = self.stores.sessions.find(id).await?;
            family.push(row.ok_or(ChildSessionError::NoSuchSession)?);
        }
        if !family.iter().all(|row| self.is_active(row)) {
            return Err(ChildSessionError::NoSuchSession);
        }
        match runtime {
            Some(name) if !family.iter().any(|row| row.runtime == name) => {
                Err(ChildSessionError::OtherRuntime)
            }
            _ => Ok(family),
        }
    }

    fn is_active(&self, row: &SessionRow) -> bool {
        let session = CachedSession::new(row.clone(), &self.keys, &self.activity);
        let in_time = session.remaining_ms(self.clock.now_ms()).is_some();
        in_time && self.cache.end_cause(&row.id_hash).is_none()
    }
}

fn has_ancestor_cycle(row: &SessionRow) -> bool {
    let mut visited = vec![row.id_hash];
    row.ancestors.iter().any(|id| {
        let is_repeated = visited.contains(id);
        visited.push(*id);
        is_repeated
    })
}

#[cfg(test)]
mod tests;
