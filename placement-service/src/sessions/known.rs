//! What is known of sessions between two looks into the store: those that live, and those that have just
//! ended and must not come back.

use super::activity::{Activity, write_interval_ms};
use crate::sessions::server_keys::ServerKeys;
use berth_store::session_id::IdHash;
use berth_store::{EndCause, ProviderLink, SessionRow};
use moka::sync::Cache;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sessions looked up and kept in memory for `session.cache`.
const CACHED_SESSIONS: u64 = 100_000;
/// How long beyond the cache an ended session is remembered, so that a look-up that was under way when it ended
/// cannot bring it back.
const ENDED_MEMORY: Duration = Duration::from_secs(60);
/// How long the id behind a public name is remembered after it was last of use.
const NAME_MEMORY: Duration = Duration::from_secs(600);
/// How long it is remembered which runtime a session had that has ended: readers of the event log may be behind.
const RUNTIME_MEMORY: Duration = Duration::from_secs(3600);

/// A session that lives, as of the moment it was resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveSession {
    /// The account's name: `sub` of the token.
    pub account: String,
    /// The account's roles at login.
    pub roles: Vec<String>,
    /// A salted hash of the session: the only name of it for logs, metrics and gateways.
    pub session_ref: String,
    /// Unix seconds of the login.
    pub created_at: u64,
    /// Unix seconds: the absolute end of the session.
    pub expires_at: u64,
    /// Further claims of the token.
    pub claims: Map<String, Value>,
    /// Which runtime created the session.
    pub runtime: String,
    /// The session that started this one.
    pub parent_ref: Option<String>,
    /// The identity provider's session behind this one.
    pub provider: Option<ProviderLink>,
}

/// How long a session has left, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Until it ends for want of activity.
    pub idle_s: u64,
    /// Until it ends whatever happens.
    pub absolute_s: u64,
}

/// A session in memory.
pub(super) struct Known {
    pub(super) live: Arc<LiveSession>,
    pub(super) ancestors: Vec<IdHash>,
    idle_timeout_ms: u64,
    absolute_expiry_ms: u64,
    last_seen_ms: AtomicU64,
    /// The activity that the store knows of, or soon will.
    stored_ms: AtomicU64,
}

impl Known {
    /// Of a row, and of activity that the store does not know yet.
    pub(super) fn new(row: SessionRow, keys: &ServerKeys, activity: &Activity) -> Self {
        let unwritten = activity.latest(&row.id_hash).unwrap_or(0);
        Self {
            live: Arc::new(live_session(&row, keys)),
            idle_timeout_ms: row.idle_timeout_ms,
            absolute_expiry_ms: row.absolute_expiry_ms,
            last_seen_ms: AtomicU64::new(row.last_seen_at_ms.max(unwritten)),
            stored_ms: AtomicU64::new(row.last_seen_at_ms),
            ancestors: row.ancestors,
        }
    }

    /// Milliseconds until the idle and the absolute end, if neither has come.
    pub(super) fn remaining_ms(&self, now_ms: u64) -> Option<(u64, u64)> {
        let idle_end = self.last_seen_ms().saturating_add(self.idle_timeout_ms);
        let left = |end: u64| end.checked_sub(now_ms).filter(|left| *left > 0);
        Some((left(idle_end)?, left(self.absolute_expiry_ms)?))
    }

    /// When it ends if nothing more happens, in milliseconds since the Unix epoch.
    pub(super) fn ends_at_ms(&self) -> u64 {
        let idle_end = self.last_seen_ms().saturating_add(self.idle_timeout_ms);
        idle_end.min(self.absolute_expiry_ms)
    }

    /// Milliseconds since the Unix epoch.
    pub(super) fn last_seen_ms(&self) -> u64 {
        self.last_seen_ms.load(Ordering::Relaxed)
    }

    /// The session was active; `true` when that is news.
    pub(super) fn seen(&self, now_ms: u64) -> bool {
        self.last_seen_ms.fetch_max(now_ms, Ordering::Relaxed) < now_ms
    }

    /// When the store should know of activity now: at once when what it knows is old (S5).
    pub(super) fn due_ms(&self, now_ms: u64) -> u64 {
        let stored = self.stored_ms.load(Ordering::Relaxed);
        let due = stored.saturating_add(write_interval_ms(self.idle_timeout_ms));
        if due <= now_ms {
            self.stored_ms.fetch_max(now_ms, Ordering::Relaxed);
        }
        due
    }
}

/// What the rest of the service may know of a row.
pub(super) fn live_session(row: &SessionRow, keys: &ServerKeys) -> LiveSession {
    LiveSession {
        session_ref: row.session_ref.clone(),
        account: row.account.clone(),
        roles: row.roles.clone(),
        created_at: row.created_at_ms / 1000,
        expires_at: row.absolute_expiry_ms / 1000,
        claims: row.claims.clone(),
        runtime: row.runtime.clone(),
        parent_ref: row.parent().map(|parent| keys.session_ref(parent)),
        provider: row.provider.clone(),
    }
}

/// The sessions in memory.
pub(super) struct Memory {
    live: Cache<IdHash, Arc<Known>>,
    /// For activity only: what is known here may be old, and lets nobody in.
    by_ref: Cache<String, (IdHash, Arc<Known>)>,
    /// Why they ended.
    ended: Cache<IdHash, EndCause>,
    /// The same by their public names, as the event log tells it: what other processes ended need not be known here.
    ended_elsewhere: Cache<String, EndCause>,
    /// By the public names of those that have ended.
    runtimes: Cache<String, String>,
}

impl Memory {
    /// Keeps a session for `keep`.
    pub(super) fn new(keep: Duration) -> Self {
        Self {
            live: Cache::builder()
                .max_capacity(CACHED_SESSIONS)
                .time_to_live(keep)
                .build(),
            by_ref: Cache::builder()
                .max_capacity(CACHED_SESSIONS)
                .time_to_idle(NAME_MEMORY)
                .build(),
            ended: Cache::builder()
                .max_capacity(CACHED_SESSIONS)
                .time_to_live(ENDED_MEMORY + keep)
                .build(),
            ended_elsewhere: Cache::builder()
                .max_capacity(CACHED_SESSIONS)
                .time_to_live(ENDED_MEMORY + keep)
                .build(),
            runtimes: Cache::builder()
                .max_capacity(CACHED_SESSIONS)
                .time_to_live(RUNTIME_MEMORY)
                .build(),
        }
    }

    pub(super) fn get(&self, id: &IdHash) -> Option<Arc<Known>> {
        self.live.get(id)
    }

    pub(super) fn insert(&self, id: IdHash, known: &Arc<Known>) {
        self.live.insert(id, known.clone());
        let name = known.live.session_ref.clone();
        self.by_ref.insert(name.clone(), (id, known.clone()));
        // The row may be older than what another process has told.
        if let Some(cause) = self.ended_elsewhere.get(&name) {
            self.ended(id, cause);
        }
    }

    /// From here on the session is not let in, whatever the store says.
    pub(super) fn ended(&self, id: IdHash, cause: EndCause) {
        self.ended.insert(id, cause);
        self.live.invalidate(&id);
    }

    /// As [`Self::ended`], of a session that another process has ended; its id, if that is known here.
    pub(super) fn ended_elsewhere(&self, session_ref: &str, cause: EndCause) -> Option<IdHash> {
        // First, so that a look-up that is under way finds it.
        self.ended_elsewhere.insert(session_ref.to_owned(), cause);
        let id = self.id_of(session_ref)?;
        self.ended(id, cause);
        Some(id)
    }

    /// Its runtime is asked for longer than it lives: its children's ends are told after its own.
    pub(super) fn keep_runtime(&self, session_ref: &str, runtime: &str) {
        let (session_ref, runtime) = (session_ref.to_owned(), runtime.to_owned());
        self.runtimes.insert(session_ref, runtime);
    }

    /// Which runtime has or had a session; `None` when that is not in memory.
    pub(super) fn runtime_of(&self, session_ref: &str) -> Option<String> {
        let known = self.by_ref.get(session_ref);
        let known = known.map(|(_, known)| known.live.runtime.clone());
        known.or_else(|| self.runtimes.get(session_ref))
    }

    /// It had not ended after all.
    pub(super) fn not_ended(&self, id: &IdHash) {
        self.ended.invalidate(id);
    }

    /// Whatever lives has to be looked up again.
    pub(super) fn forget_live(&self) {
        self.live.invalidate_all();
    }

    /// Why it has ended, if it has.
    pub(super) fn has_ended(&self, id: &IdHash) -> Option<EndCause> {
        self.ended.get(id)
    }

    /// The same of a session that perhaps another process has ended, and that need not be known here.
    pub(super) fn has_ended_anywhere(
        &self,
        id: Option<&IdHash>,
        session_ref: &str,
    ) -> Option<EndCause> {
        let here = id.and_then(|id| self.has_ended(id));
        here.or_else(|| self.ended_elsewhere.get(session_ref))
    }

    /// The id of a session that was in memory a while ago.
    pub(super) fn id_of(&self, session_ref: &str) -> Option<IdHash> {
        self.by_ref.get(session_ref).map(|(id, _)| id)
    }

    /// A session that was in memory a while ago: good for activity, for nothing else.
    pub(super) fn named(&self, session_ref: &str) -> Option<(IdHash, Arc<Known>)> {
        self.by_ref.get(session_ref)
    }
}
