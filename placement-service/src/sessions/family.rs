//! Families (S29..S33): a session starts child sessions, on this runtime or on another; a child completes
//! and its parent hears of it; whoever is over takes those with him that he has led to.

use super::known::Known;
use super::{LiveSession, Sessions, millis, store_down};
use crate::core::rejection::Refusal;
use berth_store::session_id::{IdHash, SessionId};
use berth_store::{
    EndCause, EventKind, PAYLOAD_VERSION, ProviderLink, SessionRow, SessionState, StoreError,
};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// Generations below a login at the most (S33).
const MAX_DEPTH: usize = 8;

/// The claims of a session besides our own, as JSON, in bytes at the most: the token with them fits into a
/// header.
pub const MAX_CLAIMS_BYTES: usize = 8 * 1024;

/// A child session that is to be.
#[derive(Clone, Debug)]
pub struct NewChild {
    /// The runtime that it is for.
    pub runtime: String,
    /// `None`: as configured.
    pub idle_timeout: Option<Duration>,
    /// Further claims of the token, besides those of the parent.
    pub claims: Map<String, Value>,
}

/// Why a family stays as it is.
#[derive(Debug, PartialEq, Eq)]
pub enum FamilyError {
    /// None of that name lives, or one that led to it does not.
    NoSuchSession,
    /// Neither the session nor any that led to it is the runtime's.
    Foreign,
    TooDeep,
    /// Its row says that the session has led to itself.
    Cycle,
    /// The claims are more than fit, with those of the parent.
    TooManyClaims,
    /// It was no session that started it, but a login.
    NoChild,
    /// The store or the service failed.
    Refused(Refusal),
}

impl From<StoreError> for FamilyError {
    fn from(error: StoreError) -> Self {
        Self::Refused(store_down(&error))
    }
}

impl Sessions {
    /// Starts a child of a session, which counts as activity of that. Account and roles travel with it; it
    /// ends when its parent does, or before. `runtime` is who asks, `None` for an operator.
    pub async fn start_child(
        &self,
        parent_ref: &str,
        runtime: Option<&str>,
        new: NewChild,
    ) -> Result<(SessionId, Arc<LiveSession>), FamilyError> {
        let family = self.living_family(parent_ref, runtime).await?;
        let Some(parent) = family.first() else {
            return Err(FamilyError::NoSuchSession);
        };
        if parent.ancestors.len() >= MAX_DEPTH {
            return Err(FamilyError::TooDeep);
        }
        let id = SessionId::fresh();
        let row = self.child_row(id.hash(), parent, new);
        let claims = serde_json::to_vec(&row.claims).map_or(usize::MAX, |text| text.len());
        if claims > MAX_CLAIMS_BYTES {
            return Err(FamilyError::TooManyClaims);
        }
        let event = self.event(&row, EventKind::Created);
        let live = self.keep(&row, None, event).await;
        let live = live.map_err(FamilyError::Refused)?;
        // Whoever ended the parent meanwhile did not know of this child.
        if self.stores.sessions.find(&parent.id_hash).await?.is_none() {
            self.end_rows(vec![row], EndCause::ParentEnded, None)
                .await?;
            return Err(FamilyError::NoSuchSession);
        }
        tracing::info!(target: "berth::audit", event = "child-started", account = live.account,
            session = live.session_ref, parent = parent_ref, runtime = live.runtime);
        let now_ms = self.clock.now_ms();
        for row in family {
            let id = row.id_hash;
            let known = self.remember(row);
            self.note(id, &known, now_ms);
        }
        Ok((id, live))
    }

    /// A child session has done what it was for: it ends, and the log tells its parent the result (S30).
    pub async fn complete(
        &self,
        child_ref: &str,
        runtime: Option<&str>,
        result: Value,
    ) -> Result<(), FamilyError> {
        let family = self.living_family(child_ref, runtime).await?;
        let Some(child) = family.into_iter().next() else {
            return Err(FamilyError::NoSuchSession);
        };
        if child.parent().is_none() {
            return Err(FamilyError::NoChild);
        }
        let completed = EndCause::Completed;
        match self.end_rows(vec![child], completed, Some(result)).await? {
            0 => Err(FamilyError::NoSuchSession),
            _ => Ok(()),
        }
    }

    fn child_row(&self, id_hash: IdHash, parent: &SessionRow, new: NewChild) -> SessionRow {
        let now_ms = self.clock.now_ms();
        let idle_timeout_ms = new
            .idle_timeout
            .or(self.child_idle_timeout)
            .map_or(parent.idle_timeout_ms, millis);
        if idle_timeout_ms != parent.idle_timeout_ms {
            tracing::warn!(
                parent = parent.session_ref,
                parent_idle_timeout_s = parent.idle_timeout_ms / 1000,
                child_idle_timeout_s = idle_timeout_ms / 1000,
                "a child session has another idle timeout than its parent"
            );
        }
        let absolute_expiry_ms = now_ms.saturating_add(self.absolute_timeout_ms);
        let mut claims = parent.claims.clone();
        claims.extend(new.claims);
        let ancestors = std::iter::once(parent.id_hash).chain(parent.ancestors.iter().copied());
        SessionRow {
            id_hash,
            session_ref: self.keys.session_ref(&id_hash),
            payload_version: PAYLOAD_VERSION,
            account: parent.account.clone(),
            roles: parent.roles.clone(),
            created_at_ms: now_ms,
            last_seen_at_ms: now_ms,
            idle_timeout_ms,
            absolute_expiry_ms: absolute_expiry_ms.min(parent.absolute_expiry_ms),
            ancestors: ancestors.collect(),
            runtime: new.runtime,
            state: SessionState::Active,
            claims,
            // Where the account is from; the logout at the provider is the login's alone.
            provider: parent.provider.as_ref().map(|link| ProviderLink {
                logout_hint: None,
                ..link.clone()
            }),
        }
    }

    /// The session of that public name and those that led to it, as the store has them now.
    async fn living_family(
        &self,
        session_ref: &str,
        runtime: Option<&str>,
    ) -> Result<Vec<SessionRow>, FamilyError> {
        let row = self.stores.sessions.find_by_ref(session_ref).await?;
        let row = row.ok_or(FamilyError::NoSuchSession)?;
        if leads_to_itself(&row) {
            tracing::error!(
                session = row.session_ref,
                "the family of a session is a circle"
            );
            return Err(FamilyError::Cycle);
        }
        let ancestors = row.ancestors.clone();
        let mut family = vec![row];
        for id in &ancestors {
            let row = self.stores.sessions.find(id).await?;
            family.push(row.ok_or(FamilyError::NoSuchSession)?);
        }
        if !family.iter().all(|row| self.lives(row)) {
            return Err(FamilyError::NoSuchSession);
        }
        match runtime {
            Some(name) if !family.iter().any(|row| row.runtime == name) => {
                Err(FamilyError::Foreign)
            }
            _ => Ok(family),
        }
    }

    fn lives(&self, row: &SessionRow) -> bool {
        let known = Known::new(row.clone(), &self.keys, &self.activity);
        let in_time = known.remaining_ms(self.clock.now_ms()).is_some();
        in_time && self.memory.has_ended(&row.id_hash).is_none()
    }
}

fn leads_to_itself(row: &SessionRow) -> bool {
    let mut seen = vec![row.id_hash];
    row.ancestors.iter().any(|id| {
        let again = seen.contains(id);
        seen.push(*id);
        again
    })
}

#[cfg(test)]
mod tests;
