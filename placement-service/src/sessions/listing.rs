//! What an operator sees of sessions: everything but what would let him use them.

use super::Sessions;
use super::known::Known;
use berth_store::{Select, SessionRow, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

/// The most sessions in one list.
const MAX_LISTED: u32 = 1000;
/// When every session is over: the latest time that all stores can hold.
const END_OF_TIME_MS: u64 = i64::MAX as u64;

/// One session that lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct Overview {
    pub session_ref: String,
    pub account: String,
    pub roles: Vec<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds; the store learns of activity now and then only.
    pub last_seen_at: u64,
    /// Seconds until the session ends for want of activity.
    pub idle_remaining_s: u64,
    /// Seconds until it ends whatever happens.
    pub absolute_remaining_s: u64,
    /// Which runtime has it.
    pub runtime: String,
    /// The session that started this one.
    pub parent_ref: Option<String>,
    /// The identity provider that it came from, by its name in the configuration.
    pub provider: Option<String>,
}

/// Sessions, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Sessions)]
pub struct Listed {
    pub sessions: Vec<Overview>,
    /// There are more than one list takes.
    pub more: bool,
}

impl Sessions {
    /// Which runtime has a session, or had it a while ago: that never changes. `None` when it is long over.
    pub async fn runtime_of(&self, session_ref: &str) -> Result<Option<String>, StoreError> {
        if let Some(runtime) = self.memory.runtime_of(session_ref) {
            return Ok(Some(runtime));
        }
        let row = self.stores.sessions.find_by_ref(session_ref).await?;
        Ok(row.map(|row| row.runtime))
    }

    /// The sessions of an account, or of all.
    pub async fn list(&self, account: Option<&str>) -> Result<Listed, StoreError> {
        let select = account.map_or(Select::OverAt(END_OF_TIME_MS), |account| {
            Select::Account(account.to_owned())
        });
        let rows = self.stores.sessions.list(&select, MAX_LISTED).await?;
        let more = rows.len() == MAX_LISTED as usize;
        let sessions = rows.into_iter().filter_map(|row| self.overview(row));
        Ok(Listed {
            sessions: sessions.collect(),
            more,
        })
    }

    /// The session of that public name, if it lives.
    pub async fn show(&self, session_ref: &str) -> Result<Option<Overview>, StoreError> {
        let row = self.stores.sessions.find_by_ref(session_ref).await?;
        Ok(row.and_then(|row| self.overview(row)))
    }

    fn overview(&self, row: SessionRow) -> Option<Overview> {
        let known = Known::new(row, &self.keys, &self.activity);
        let (idle_ms, absolute_ms) = known.remaining_ms(self.clock.now_ms())?;
        let live = &known.live;
        Some(Overview {
            session_ref: live.session_ref.clone(),
            account: live.account.clone(),
            roles: live.roles.clone(),
            created_at: live.created_at,
            last_seen_at: known.last_seen_ms() / 1000,
            idle_remaining_s: idle_ms.min(absolute_ms) / 1000,
            absolute_remaining_s: absolute_ms / 1000,
            runtime: live.runtime.clone(),
            parent_ref: live.parent_ref.clone(),
            provider: live.provider.as_ref().map(|link| link.provider.clone()),
        })
    }
}
