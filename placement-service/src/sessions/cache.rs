//! The cache of sessions: active ones, so that most requests need no store, and recently ended ones, so that a
//! stale row cannot make them active again. Knows no store; others decide when to read and invalidate.

use super::activity::{ActivityBuffer, write_interval_ms};
use crate::core::account_key::AccountKey;
use crate::sessions::server_keys::ServerKeys;
use berth_store::session_id::IdHash;
use berth_store::{EndCause, ProviderLink, SessionRow};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Maximum number of sessions in each cache. `session.cache` limits how long an active one stays.
const MAX_CACHED_SESSIONS: u64 = 100_000;
/// How much longer than an active session an ended one is remembered, so that a store read that was in progress
/// when the session ended cannot make it active again.
const ENDED_RETENTION: Duration = Duration::from_secs(60);
/// How long the id behind a `session_ref` is remembered after its last use.
const REF_RETENTION: Duration = Duration::from_secs(600);
/// How long the runtime of an ended session is remembered. Readers of the event log may lag behind.
const RUNTIME_RETENTION: Duration = Duration::from_secs(3600);

/// An active session, as of the moment it was resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSession {
    /// The key of the account: a local account's name, or `provider:name`.
    pub account: String,
    /// The user's name for people.
    pub display_name: String,
    /// The account's roles at login.
    pub roles: Vec<String>,
    /// A keyed hash of the session's id: its only name in logs, metrics and at gateways.
    pub session_ref: String,
    /// Unix seconds of the login.
    pub created_at: u64,
    /// Unix seconds of the absolute expiry.
    pub expires_at: u64,
    /// Additional claims of the token.
    pub claims: Map<String, Value>,
    /// Which runtime created the session.
    pub runtime: String,
    /// The parent session.
    pub parent_ref: Option<String>,
    /// The identity provider's session behind this one.
    pub provider: Option<ProviderLink>,
}

/// The remaining time of a session, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemainingTime {
    /// Until it expires if there is no more activity.
    pub idle_s: u64,
    /// Until its absolute expiry.
    pub absolute_s: u64,
}

/// A session in the cache.
pub(super) struct CachedSession {
    pub(super) live: Arc<LiveSession>,
    pub(super) ancestors: Vec<IdHash>,
    idle_timeout_ms: u64,
    absolute_expiry_ms: u64,
    last_seen_ms: AtomicU64,
    /// The latest activity that the store has, or that is about to be written.
    stored_ms: AtomicU64,
}

impl CachedSession {
    /// Combines a row with activity that has not been written to the store yet.
    pub(super) fn new(row: SessionRow, keys: &ServerKeys, activity: &ActivityBuffer) -> Self {
        let pending_ms = activity.latest(&row.id_hash).unwrap_or(0);
        Self {
            live: Arc::new(live_session(&row, keys)),
            idle_timeout_ms: row.idle_timeout_ms,
            absolute_expiry_ms: row.absolute_expiry_ms,
            last_seen_ms: AtomicU64::new(row.last_seen_at_ms.max(pending_ms)),
            stored_ms: AtomicU64::new(row.last_seen_at_ms),
            ancestors: row.ancestors,
        }
    }

    /// Milliseconds until the idle and the absolute expiry; `None` if either has passed.
    pub(super) fn remaining_ms(&self, now_ms: u64) -> Option<(u64, u64)> {
        let idle_end = self.last_seen_ms().saturating_add(self.idle_timeout_ms);
        let time_left = |expiry_ms: u64| {
            expiry_ms
                .checked_sub(now_ms)
                .filter(|time_left| *time_left > 0)
        };
        Some((time_left(idle_end)?, time_left(self.absolute_expiry_ms)?))
    }

    /// When it expires if there is no more activity, in milliseconds since the Unix epoch.
    pub(super) fn ends_at_ms(&self) -> u64 {
        let idle_end = self.last_seen_ms().saturating_add(self.idle_timeout_ms);
        idle_end.min(self.absolute_expiry_ms)
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn last_seen_ms(&self) -> u64 {
        self.last_seen_ms.load(Ordering::Relaxed)
    }

    /// Records activity; `true` if it is later than the activity recorded before.
    pub(super) fn record_activity(&self, now_ms: u64) -> bool {
        self.last_seen_ms.fetch_max(now_ms, Ordering::Relaxed) < now_ms
    }

    /// When the store must have this activity: immediately if what it has is older than the write interval, so
    /// that other replicas do not take the session for expired.
    pub(super) fn schedule_write_ms(&self, now_ms: u64) -> u64 {
        let stored = self.stored_ms.load(Ordering::Relaxed);
        let next_write_ms = stored.saturating_add(write_interval_ms(self.idle_timeout_ms));
        if next_write_ms <= now_ms {
            self.stored_ms.fetch_max(now_ms, Ordering::Relaxed);
        }
        next_write_ms
    }
}

impl LiveSession {
    /// The account's name without the namespace of its provider.
    #[must_use]
    pub fn account_name(&self) -> &str {
        AccountKey::name_within(self.provider_name(), &self.account)
    }

    /// The identity provider of the account, by its name in the configuration.
    #[must_use]
    pub fn provider_name(&self) -> Option<&str> {
        self.provider.as_ref().map(|link| link.provider.as_str())
    }
}

/// The part of a row that the rest of the service may use.
pub(super) fn live_session(row: &SessionRow, keys: &ServerKeys) -> LiveSession {
    let mut live = LiveSession {
        session_ref: row.session_ref.clone(),
        account: row.account.clone(),
        display_name: row.display_name.clone(),
        roles: row.roles.clone(),
        created_at: row.created_at_ms / 1000,
        expires_at: row.absolute_expiry_ms / 1000,
        claims: row.claims.clone(),
        runtime: row.runtime.clone(),
        parent_ref: row.parent().map(|parent| keys.session_ref(parent)),
        provider: row.provider.clone(),
    };
    if live.display_name.is_empty() {
        live.display_name = live.account_name().to_owned();
    }
    live
}

/// The caches of sessions.
pub(super) struct SessionCache {
    active: Cache<IdHash, Arc<CachedSession>>,
    /// For recording activity only: an entry may be stale and must not authenticate a request.
    by_ref: Cache<String, (IdHash, Arc<CachedSession>)>,
    /// The end cause by id.
    ended_by_id: Cache<IdHash, EndCause>,
    /// The end cause by `session_ref`, from the event log: a session that another process ended need not be cached
    /// here by id.
    ended_by_ref: Cache<String, EndCause>,
    /// The runtime of ended sessions, by `session_ref`.
    runtimes: Cache<String, String>,
}

impl SessionCache {
    /// Keeps active sessions for `ttl`.
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            active: Cache::builder()
                .max_capacity(MAX_CACHED_SESSIONS)
                .time_to_live(ttl)
                .build(),
            by_ref: Cache::builder()
                .max_capacity(MAX_CACHED_SESSIONS)
                .time_to_idle(REF_RETENTION)
                .build(),
            ended_by_id: Cache::builder()
                .max_capacity(MAX_CACHED_SESSIONS)
                .time_to_live(ENDED_RETENTION + ttl)
                .build(),
            ended_by_ref: Cache::builder()
                .max_capacity(MAX_CACHED_SESSIONS)
                .time_to_live(ENDED_RETENTION + ttl)
                .build(),
            runtimes: Cache::builder()
                .max_capacity(MAX_CACHED_SESSIONS)
                .time_to_live(RUNTIME_RETENTION)
                .build(),
        }
    }

    pub(super) fn get(&self, id: &IdHash) -> Option<Arc<CachedSession>> {
        self.active.get(id)
    }

    pub(super) fn insert(&self, id: IdHash, session: &Arc<CachedSession>) {
        self.active.insert(id, session.clone());
        let name = session.live.session_ref.clone();
        self.by_ref.insert(name.clone(), (id, session.clone()));
        // Another process may have ended the session after the row was read.
        if let Some(cause) = self.ended_by_ref.get(&name) {
            self.mark_ended(id, cause);
        }
    }

    /// From here on the session is rejected, whatever the store returns.
    pub(super) fn mark_ended(&self, id: IdHash, cause: EndCause) {
        self.ended_by_id.insert(id, cause);
        self.active.invalidate(&id);
    }

    /// As [`Self::mark_ended`], for a session that another process has ended. Returns its id, if it is cached.
    pub(super) fn mark_ended_by_ref(&self, session_ref: &str, cause: EndCause) -> Option<IdHash> {
        // First, so that a concurrent lookup finds it.
        self.ended_by_ref.insert(session_ref.to_owned(), cause);
        let id = self.id_by_ref(session_ref)?;
        self.mark_ended(id, cause);
        Some(id)
    }

    /// Remembers the runtime beyond the session's end, because the events of its child sessions follow its own.
    pub(super) fn remember_runtime(&self, session_ref: &str, runtime: &str) {
        let (session_ref, runtime) = (session_ref.to_owned(), runtime.to_owned());
        self.runtimes.insert(session_ref, runtime);
    }

    /// The runtime of an active or ended session; `None` if it is not cached.
    pub(super) fn runtime_of(&self, session_ref: &str) -> Option<String> {
        let session = self.by_ref.get(session_ref);
        let session = session.map(|(_, session)| session.live.runtime.clone());
        session.or_else(|| self.runtimes.get(session_ref))
    }

    /// Reverts [`Self::mark_ended`]: the store did not remove the session.
    pub(super) fn unmark_ended(&self, id: &IdHash) {
        self.ended_by_id.invalidate(id);
    }

    /// Makes the next request of each session read the store.
    pub(super) fn invalidate_active(&self) {
        self.active.invalidate_all();
    }

    /// The cause if the session has ended.
    pub(super) fn end_cause(&self, id: &IdHash) -> Option<EndCause> {
        self.ended_by_id.get(id)
    }

    /// As [`Self::end_cause`], and also for sessions that another process has ended or whose id is not known here.
    pub(super) fn end_cause_by_id_or_ref(
        &self,
        id: Option<&IdHash>,
        session_ref: &str,
    ) -> Option<EndCause> {
        let by_id = id.and_then(|id| self.end_cause(id));
        by_id.or_else(|| self.ended_by_ref.get(session_ref))
    }

    /// The id of a session that was cached recently.
    pub(super) fn id_by_ref(&self, session_ref: &str) -> Option<IdHash> {
        self.by_ref.get(session_ref).map(|(id, _)| id)
    }

    /// A session that was cached recently. For recording activity only: it may be stale.
    pub(super) fn get_by_ref(&self, session_ref: &str) -> Option<(IdHash, Arc<CachedSession>)> {
        self.by_ref.get(session_ref)
    }
}
