//! Login sessions: which cookie names a session that lives, and when it ends. Knows nothing of HTTP.

mod activity;

use crate::clock::Clock;
use crate::config;
use crate::refusal::Refusal;
use crate::server_keys::ServerKeys;
use crate::session_id::{IdHash, SessionId};
use crate::store::{PAYLOAD_VERSION, SessionRow, SessionState, SessionStore, StoreError};
use activity::Activity;
use berth_api::Reason;
use moka::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::AbortHandle;

/// Sessions looked up and kept in memory for `session.cache`.
const CACHED_SESSIONS: u64 = 100_000;
/// How long beyond the cache an ended session is remembered, so that a look-up that was under way when it ended
/// cannot bring it back.
const ENDED_MEMORY: Duration = Duration::from_secs(60);
/// Seconds until a retry makes sense when the store does not answer.
const STORE_RETRY_S: u32 = 1;

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
}

/// How long a session has left, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Until it ends for want of activity.
    pub idle_s: u64,
    /// Until it ends whatever happens.
    pub absolute_s: u64,
}

struct Known {
    live: Arc<LiveSession>,
    idle_timeout_ms: u64,
    absolute_expiry_ms: u64,
    last_seen_ms: AtomicU64,
}

impl Known {
    /// Milliseconds until the idle and the absolute end, if neither has come.
    fn remaining_ms(&self, now_ms: u64) -> Option<(u64, u64)> {
        let last_seen = self.last_seen_ms.load(Ordering::Relaxed);
        let idle_end = last_seen.saturating_add(self.idle_timeout_ms);
        let left = |end: u64| end.checked_sub(now_ms).filter(|left| *left > 0);
        Some((left(idle_end)?, left(self.absolute_expiry_ms)?))
    }
}

/// The use cases of sessions.
pub struct Sessions {
    store: Arc<dyn SessionStore>,
    clock: Arc<dyn Clock>,
    keys: ServerKeys,
    idle_timeout_ms: u64,
    absolute_timeout_ms: u64,
    cache: Cache<IdHash, Arc<Known>>,
    ended: Cache<IdHash, ()>,
    activity: Arc<Activity>,
    writer: AbortHandle,
}

impl Sessions {
    /// Fetches the server keys and starts the task that writes activity to the store.
    pub async fn start(
        store: Arc<dyn SessionStore>,
        clock: Arc<dyn Clock>,
        config: &config::Session,
    ) -> Result<Self, StoreError> {
        let keys = ServerKeys::load(store.as_ref()).await?;
        let activity = Arc::new(Activity::default());
        let interval = Activity::interval(config.idle_timeout);
        let writer = tokio::spawn(activity.clone().run(store.clone(), interval));
        Ok(Self {
            store,
            clock,
            keys,
            idle_timeout_ms: millis(config.idle_timeout),
            absolute_timeout_ms: millis(config.absolute_timeout),
            cache: Cache::builder()
                .max_capacity(CACHED_SESSIONS)
                .time_to_live(config.cache)
                .build(),
            ended: Cache::builder()
                .max_capacity(CACHED_SESSIONS)
                .time_to_live(ENDED_MEMORY + config.cache)
                .build(),
            activity,
            writer: writer.abort_handle(),
        })
    }

    /// Begins a session under a fresh id (S7). The id is for the browser alone.
    pub async fn begin(
        &self,
        account: &str,
        roles: &[String],
    ) -> Result<(SessionId, Arc<LiveSession>), Refusal> {
        let id = SessionId::fresh();
        let now_ms = self.clock.now_ms();
        let row = SessionRow {
            id_hash: id.hash(),
            payload_version: PAYLOAD_VERSION,
            account: account.to_owned(),
            roles: roles.to_vec(),
            created_at_ms: now_ms,
            last_seen_at_ms: now_ms,
            idle_timeout_ms: self.idle_timeout_ms,
            absolute_expiry_ms: now_ms.saturating_add(self.absolute_timeout_ms),
            parent: None,
            runtime: "berth".to_owned(),
            state: SessionState::Active,
            claims: serde_json::Map::new(),
        };
        self.store.insert(&row).await.map_err(|e| store_down(&e))?;
        let known = self.known(row);
        Ok((id, known.live.clone()))
    }

    /// The session that a cookie names, which counts as activity of it.
    pub async fn resolve(&self, cookie: &str) -> Result<Arc<LiveSession>, Refusal> {
        let (id, known) = self.lookup(cookie).await?;
        let now_ms = self.clock.now_ms();
        let seen = known.last_seen_ms.fetch_max(now_ms, Ordering::Relaxed);
        if seen < now_ms {
            self.activity.note(id, now_ms);
        }
        Ok(known.live.clone())
    }

    /// The session that a cookie names and the time it has left. Not an activity (S12).
    pub async fn peek(&self, cookie: &str) -> Result<(Arc<LiveSession>, Remaining), Refusal> {
        let (_, known) = self.lookup(cookie).await?;
        let (idle_ms, absolute_ms) = known
            .remaining_ms(self.clock.now_ms())
            .ok_or(Reason::SessionExpired)?;
        let remaining = Remaining {
            idle_s: idle_ms.min(absolute_ms) / 1000,
            absolute_s: absolute_ms / 1000,
        };
        Ok((known.live.clone(), remaining))
    }

    /// Ends the session that a cookie names (S22). `None` when it named none that lived.
    pub async fn end(&self, cookie: &str) -> Result<Option<Arc<LiveSession>>, Refusal> {
        let (id, known) = match self.lookup(cookie).await {
            Ok(found) => found,
            Err(refusal) if refusal.reason == Reason::StoreDown => return Err(refusal),
            Err(_) => return Ok(None),
        };
        // First, so that from here on nobody is let in, whatever the store does next.
        self.ended.insert(id, ());
        if let Err(error) = self.store.remove(&id).await {
            self.ended.invalidate(&id);
            return Err(store_down(&error));
        }
        self.cache.invalidate(&id);
        self.activity.forget(&id);
        Ok(Some(known.live.clone()))
    }

    /// The anonymous id that goes with a cookie that names no session (S18). Nothing is stored.
    #[must_use]
    pub fn anonymous_id(&self, stale_cookie: &str) -> String {
        self.keys.anonymous_id(stale_cookie)
    }

    /// Whether the store answers.
    pub async fn ready(&self) -> Result<(), Refusal> {
        self.store.ping().await.map_err(|e| store_down(&e))
    }

    /// Writes what the store does not know yet, before the process ends.
    pub async fn flush(&self) {
        self.activity.flush(self.store.as_ref()).await;
    }

    /// A live session by its cookie, from memory or from the store. Unknown cookies are not
    /// remembered: they must cost nothing to hold.
    async fn lookup(&self, cookie: &str) -> Result<(IdHash, Arc<Known>), Refusal> {
        let id = SessionId::parse(cookie)
            .ok_or_else(|| unknown("not an id"))?
            .hash();
        let known = match self.cache.get(&id) {
            Some(known) => known,
            None => {
                let row = self.store.find(&id).await.map_err(|e| store_down(&e))?;
                let row = row.ok_or_else(|| unknown(&self.keys.session_ref(&id)))?;
                let known = Arc::new(self.known(row));
                self.cache.insert(id, known.clone());
                known
            }
        };
        if self.ended.contains_key(&id) {
            return Err(unknown(&known.live.session_ref));
        }
        if known.remaining_ms(self.clock.now_ms()).is_none() {
            return Err(Reason::SessionExpired.into());
        }
        Ok((id, known))
    }

    fn known(&self, row: SessionRow) -> Known {
        let unwritten = self.activity.latest(&row.id_hash).unwrap_or(0);
        Known {
            live: Arc::new(LiveSession {
                session_ref: self.keys.session_ref(&row.id_hash),
                account: row.account,
                roles: row.roles,
                created_at: row.created_at_ms / 1000,
                expires_at: row.absolute_expiry_ms / 1000,
            }),
            idle_timeout_ms: row.idle_timeout_ms,
            absolute_expiry_ms: row.absolute_expiry_ms,
            last_seen_ms: AtomicU64::new(row.last_seen_at_ms.max(unwritten)),
        }
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

fn unknown(session: &str) -> Refusal {
    tracing::info!(target: "berth::audit", event = "unknown-session", session);
    Reason::UnknownSession.into()
}

/// The refusal for a store that does not answer; the log says why.
pub(crate) fn store_down(error: &StoreError) -> Refusal {
    tracing::error!(%error, "the session store does not answer");
    Refusal::new(Reason::StoreDown).retry_after(STORE_RETRY_S)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
