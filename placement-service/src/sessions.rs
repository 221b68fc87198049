//! Login sessions: which cookie names an active session, and when a session ends. Knows nothing of HTTP.

mod activity;
mod bearers;
mod cache;
mod child_sessions;
mod cleanup;
mod creation;
mod ending;
mod expiry;
pub mod keys;
mod listing;
mod own_sessions;
mod renewal;
mod selector;
pub mod server_keys;
mod status;
mod store_heartbeat;
pub mod tokens;

use crate::config;
use crate::core::clock::{Clock, millis};
use crate::core::log_sampler::LogSampler;
use crate::core::metrics::Metrics;
use crate::core::rejection::Rejection;
use crate::sessions::server_keys::ServerKeys;
use activity::ActivityBuffer;
pub use bearers::BearerClaims;
use berth_api::RejectReason;
use berth_store::session_id::IdHash;
use berth_store::{EndCause, Event, EventKind, ProviderLink, SessionRow, StoreError, Stores};
use cache::{CachedSession, SessionCache, live_session};
pub use cache::{LiveSession, RemainingTime};
pub use child_sessions::{ChildSessionError, MAX_CLAIMS_BYTES, NewChildSession};
pub use cleanup::CleanupTasks;
pub use ending::run_detached;
use expiry::ExpiryQueue;
pub use listing::{SessionList, SessionView};
pub use own_sessions::OwnLogin;
pub use selector::SessionSelector;
use serde_json::{Map, Value};
pub use status::SessionStatus;
use std::sync::Arc;
use std::time::Duration;
pub use store_heartbeat::StoreHeartbeat;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Seconds after which a client should retry while the store is unavailable.
const STORE_RETRY_S: u32 = 1;

/// The input for a new session: the account and what the session carries.
#[derive(Clone, Debug, Default)]
pub struct NewSession {
    /// The key of the account.
    pub account: String,
    /// The user's name for people; empty: the account has no other name than its own.
    pub display_name: String,
    pub roles: Vec<String>,
    /// Additional claims for the session's tokens.
    pub claims: Map<String, Value>,
    pub provider: Option<ProviderLink>,
    /// The session of the same account that the browser had before. The caller ends it.
    pub previous_ref: Option<String>,
}

/// The use cases of sessions. Combines the store, the cache and the buffer of activity.
pub struct Sessions {
    stores: Stores,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    keys: ServerKeys,
    idle_timeout_ms: u64,
    absolute_timeout_ms: u64,
    /// `None`: a child session has its parent's idle timeout.
    child_idle_timeout: Option<Duration>,
    max_per_account: Option<u32>,
    on_limit: config::OnLimit,
    runtime: String,
    cache: SessionCache,
    activity: Arc<ActivityBuffer>,
    /// Sessions that were found expired and have not been ended yet.
    expiry_queue: ExpiryQueue,
    /// Notified when this process has appended to the event log.
    log_appended: Arc<Notify>,
    /// Limits logging: anyone can send cookies that name no session.
    unknown_sessions: LogSampler,
    /// The task that writes activity to the store. `None` in commands that only list or end sessions.
    writer: Option<AbortHandle>,
}

impl Sessions {
    /// As [`Self::open`], and starts the task that writes activity to the store.
    pub async fn start(
        stores: Stores,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        config: &config::Session,
    ) -> Result<Self, StoreError> {
        let mut sessions = Self::open(stores, clock, metrics, config).await?;
        let store = sessions.stores.sessions.clone();
        let activity_writer = sessions.activity.clone();
        let activity_writer =
            activity_writer.run(store, sessions.clock.clone(), config.idle_timeout);
        sessions.writer = Some(tokio::spawn(activity_writer).abort_handle());
        Ok(sessions)
    }

    /// Fetches the server keys and starts no task. Sufficient for a command that lists or ends sessions.
    pub async fn open(
        stores: Stores,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        config: &config::Session,
    ) -> Result<Self, StoreError> {
        let keys = ServerKeys::load(stores.coordination.as_ref()).await?;
        Ok(Self {
            stores,
            clock,
            metrics,
            keys,
            idle_timeout_ms: millis(config.idle_timeout),
            absolute_timeout_ms: millis(config.absolute_timeout),
            child_idle_timeout: config.child_idle_timeout,
            max_per_account: config.max_per_account,
            on_limit: config.on_limit,
            runtime: config.runtime.clone(),
            cache: SessionCache::new(config.cache),
            activity: Arc::new(ActivityBuffer::default()),
            expiry_queue: ExpiryQueue::default(),
            log_appended: Arc::new(Notify::new()),
            unknown_sessions: LogSampler::new("unknown-session"),
            writer: None,
        })
    }

    /// The session that a cookie names. Records activity of the session and its ancestors.
    pub async fn resolve(&self, cookie: &str) -> Result<Arc<LiveSession>, Rejection> {
        let (id, session) = self.lookup(cookie).await?;
        self.record_activity_with_ancestors(id, &session, self.clock.now_ms());
        Ok(session.live.clone())
    }

    /// The session that a cookie names, and its remaining time. Does not count as activity.
    pub async fn peek(&self, cookie: &str) -> Result<(Arc<LiveSession>, RemainingTime), Rejection> {
        let (_, session) = self.lookup(cookie).await?;
        let remaining = renewal::remaining_time(&session, self.clock.now_ms())?;
        Ok((session.live.clone(), remaining))
    }

    /// The anonymous id for a cookie that names no session. It is derived from the cookie, and not stored.
    #[must_use]
    pub fn anonymous_id(&self, stale_cookie: &str) -> String {
        self.keys.anonymous_id(stale_cookie)
    }

    /// Whether the store is available.
    pub async fn ready(&self) -> Result<(), Rejection> {
        let answer = self.stores.coordination.ping().await;
        answer.map_err(|e| store_down(&e))
    }

    /// Whether the store has accepted the latest writes.
    #[must_use]
    pub fn store_writable(&self) -> bool {
        self.stores.writability.is_writable()
    }

    /// Writes all activity that the store does not have. Called before the process ends.
    pub async fn flush(&self) {
        self.activity.flush(self.stores.sessions.as_ref()).await;
    }

    /// An active session by its cookie, from the cache or the store. Unknown cookies are not cached: a client that
    /// sends many of them must not use up memory.
    async fn lookup(&self, cookie: &str) -> Result<(IdHash, Arc<CachedSession>), Rejection> {
        let id = self.stores.sessions.cookie_id(cookie);
        let id = id.ok_or_else(|| self.unknown_session(None))?;
        let session = match self.get_cached(&id) {
            Some(session) => session,
            None => {
                let row = self.stores.sessions.find_by_cookie(cookie).await;
                let row = row.map_err(|e| store_down(&e))?;
                self.cache_row(row.ok_or_else(|| self.unknown_session(Some(id)))?)
            }
        };
        self.check_active(&id, &session)?;
        for ancestor in &session.ancestors {
            self.check_ancestor(ancestor).await?;
        }
        Ok((id, session))
    }

    /// Checks an ancestor: a child session ends at the latest when one of its ancestors ends.
    async fn check_ancestor(&self, id: &IdHash) -> Result<(), Rejection> {
        let session = match self.get_cached(id) {
            Some(session) => session,
            None => {
                let row = self.stores.sessions.find(id).await;
                let row = row.map_err(|e| store_down(&e))?;
                self.cache_row(row.ok_or_else(|| self.unknown_session(Some(*id)))?)
            }
        };
        self.check_active(id, &session)
    }

    /// The cached session, unless it has expired according to the cache. Then the store must be read, since
    /// another replica may have recorded later activity.
    fn get_cached(&self, id: &IdHash) -> Option<Arc<CachedSession>> {
        let now_ms = self.clock.now_ms();
        let session = self.cache.get(id);
        session.filter(|session| session.remaining_ms(now_ms).is_some())
    }

    fn cache_row(&self, row: SessionRow) -> Arc<CachedSession> {
        let id = row.id_hash;
        let session = Arc::new(CachedSession::new(row, &self.keys, &self.activity));
        self.cache.insert(id, &session);
        session
    }

    fn check_active(&self, id: &IdHash, session: &CachedSession) -> Result<(), Rejection> {
        let ended = self
            .cache
            .end_cause_by_id_or_ref(Some(id), &session.live.session_ref);
        if ended.is_some() {
            return Err(self.unknown_session(Some(*id)));
        }
        if session.remaining_ms(self.clock.now_ms()).is_none() {
            self.expiry_queue.push(*id);
            return Err(RejectReason::SessionExpired.into());
        }
        Ok(())
    }

    /// Records activity of a session and of its ancestors.
    fn record_activity_with_ancestors(&self, id: IdHash, session: &CachedSession, now_ms: u64) {
        self.record_own_activity(id, session, now_ms);
        for ancestor in &session.ancestors {
            if let Some(session) = self.cache.get(ancestor) {
                self.record_own_activity(*ancestor, &session, now_ms);
            }
        }
    }

    fn record_own_activity(&self, id: IdHash, session: &CachedSession, now_ms: u64) {
        if session.record_activity(now_ms) {
            self.activity
                .record(id, now_ms, session.schedule_write_ms(now_ms));
        }
    }

    /// An event of this session for the log, dated now.
    fn new_event(&self, row: &SessionRow, kind: EventKind) -> Event {
        Event {
            at_ms: self.clock.now_ms(),
            kind,
            session_ref: row.session_ref.clone(),
            account: row.account.clone(),
            provider: row.provider.as_ref().map(|link| link.provider.clone()),
            runtime: row.runtime.clone(),
            cause: None,
            parent_ref: row.parent().map(|parent| self.keys.session_ref(parent)),
            previous_ref: None,
            result: None,
            moved: None,
        }
    }

    fn unknown_session(&self, id: Option<IdHash>) -> Rejection {
        let session = id.map_or("not an id".to_owned(), |id| self.keys.session_ref(&id));
        let cause = self.cache.end_cause_by_id_or_ref(id.as_ref(), &session);
        if cause.is_some_and(EndCause::is_expiry) {
            return RejectReason::SessionExpired.into();
        }
        if self.unknown_sessions.admit() {
            tracing::info!(target: "berth::audit", event = "unknown-session", session);
        }
        RejectReason::UnknownSession.into()
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.abort();
        }
    }
}

/// The rejection for a store that is unavailable or read-only. The store itself logs once why it is unavailable:
/// one log line per request would let any client fill the log.
pub(crate) fn store_down(error: &StoreError) -> Rejection {
    if *error == StoreError::ReadOnly {
        return RejectReason::ReadOnlyStore.into();
    }
    match error {
        StoreError::Down(_) => tracing::debug!(%error, "rejected: the store is unavailable"),
        _ => tracing::error!(%error, "the session store returned malformed data"),
    }
    Rejection::new(RejectReason::StoreDown).with_retry_after(STORE_RETRY_S)
}

#[cfg(test)]
mod tests;
