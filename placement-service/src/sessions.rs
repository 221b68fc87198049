//! Login sessions: which cookie names a session that lives, and when it ends. Knows nothing of HTTP.

mod activity;
mod bearers;
mod ending;
mod family;
pub mod keys;
mod known;
mod life;
mod limit;
mod listing;
mod overdue;
mod renewing;
pub mod server_keys;
mod sweep;
mod theirs;
pub mod tokens;

use crate::config;
use crate::core::clock::Clock;
use crate::core::log_sampler::LogSampler;
use crate::core::metrics::Metrics;
use crate::core::rejection::Refusal;
use crate::sessions::server_keys::ServerKeys;
use activity::Activity;
pub use bearers::Bearer;
use berth_api::Reason;
use berth_store::session_id::IdHash;
use berth_store::{EndCause, Event, EventKind, ProviderLink, SessionRow, StoreError, Stores};
pub use ending::to_the_end;
pub use family::{FamilyError, MAX_CLAIMS_BYTES, NewChild};
use known::{Known, Memory, live_session};
pub use known::{LiveSession, Remaining};
pub use life::Life;
pub use listing::{Listed, Overview};
use overdue::Overdue;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
pub use sweep::Sweep;
pub use theirs::Whose;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Seconds until a retry makes sense when the store does not answer.
const STORE_RETRY_S: u32 = 1;

/// Who begins a session.
#[derive(Clone, Debug, Default)]
pub struct NewSession {
    pub account: String,
    pub roles: Vec<String>,
    /// Further claims of the token.
    pub claims: Map<String, Value>,
    pub provider: Option<ProviderLink>,
    /// The session of the same account that the browser had before. Whoever gives it ends it.
    pub previous_ref: Option<String>,
}

/// The use cases of sessions.
pub struct Sessions {
    stores: Stores,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    keys: ServerKeys,
    idle_timeout_ms: u64,
    absolute_timeout_ms: u64,
    /// `None`: children have that of their parents.
    child_idle_timeout: Option<Duration>,
    max_per_account: Option<u32>,
    on_limit: config::OnLimit,
    runtime: String,
    memory: Memory,
    activity: Arc<Activity>,
    /// Found to have run out of time, and not ended yet.
    overdue: Overdue,
    /// Rings when this process has added to the event log.
    news: Arc<Notify>,
    /// Anybody may send cookies that name no session.
    unknown_sessions: LogSampler,
    /// Writes activity now and then; `None` for those who only end sessions.
    writer: Option<AbortHandle>,
}

impl Sessions {
    /// Opens them, and starts the task that writes activity to the store.
    pub async fn start(
        stores: Stores,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        config: &config::Session,
    ) -> Result<Self, StoreError> {
        let mut sessions = Self::open(stores, clock, metrics, config).await?;
        let store = sessions.stores.sessions.clone();
        let writing = sessions.activity.clone();
        let writing = writing.run(store, sessions.clock.clone(), config.idle_timeout);
        sessions.writer = Some(tokio::spawn(writing).abort_handle());
        Ok(sessions)
    }

    /// Fetches the server keys; starts nothing. Enough for a command that lists or ends sessions.
    pub async fn open(
        stores: Stores,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        config: &config::Session,
    ) -> Result<Self, StoreError> {
        let keys = ServerKeys::load(stores.shared.as_ref()).await?;
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
            memory: Memory::new(config.cache),
            activity: Arc::new(Activity::default()),
            overdue: Overdue::default(),
            news: Arc::new(Notify::new()),
            unknown_sessions: LogSampler::new("unknown-session"),
            writer: None,
        })
    }

    /// The session that a cookie names, which counts as activity of it, and of those that led to it.
    pub async fn resolve(&self, cookie: &str) -> Result<Arc<LiveSession>, Refusal> {
        let (id, known) = self.lookup(cookie).await?;
        self.note_family(id, &known, self.clock.now_ms());
        Ok(known.live.clone())
    }

    /// The session that a cookie names and the time it has left. Not an activity (S12).
    pub async fn peek(&self, cookie: &str) -> Result<(Arc<LiveSession>, Remaining), Refusal> {
        let (_, known) = self.lookup(cookie).await?;
        let remaining = renewing::remaining(&known, self.clock.now_ms())?;
        Ok((known.live.clone(), remaining))
    }

    /// The anonymous id that goes with a cookie that names no session (S18). Nothing is stored.
    #[must_use]
    pub fn anonymous_id(&self, stale_cookie: &str) -> String {
        self.keys.anonymous_id(stale_cookie)
    }

    /// Whether the store answers.
    pub async fn ready(&self) -> Result<(), Refusal> {
        let answer = self.stores.shared.ping().await;
        answer.map_err(|e| store_down(&e))
    }

    /// Writes what the store does not know yet, before the process ends.
    pub async fn flush(&self) {
        self.activity.flush(self.stores.sessions.as_ref()).await;
    }

    /// A live session by its cookie, from memory or from the store. Unknown cookies are not
    /// remembered: they must cost nothing to hold.
    async fn lookup(&self, cookie: &str) -> Result<(IdHash, Arc<Known>), Refusal> {
        let id = self.stores.sessions.cookie_id(cookie);
        let id = id.ok_or_else(|| self.unknown(None))?;
        let known = match self.in_memory(&id) {
            Some(known) => known,
            None => {
                let row = self.stores.sessions.find_by_cookie(cookie).await;
                let row = row.map_err(|e| store_down(&e))?;
                self.remember(row.ok_or_else(|| self.unknown(Some(id)))?)
            }
        };
        self.check(&id, &known)?;
        for ancestor in &known.ancestors {
            self.check_ancestor(ancestor).await?;
        }
        Ok((id, known))
    }

    /// A child lives no longer than those that led to it (S31).
    async fn check_ancestor(&self, id: &IdHash) -> Result<(), Refusal> {
        let known = match self.in_memory(id) {
            Some(known) => known,
            None => {
                let row = self.stores.sessions.find(id).await;
                let row = row.map_err(|e| store_down(&e))?;
                self.remember(row.ok_or_else(|| self.unknown(Some(*id)))?)
            }
        };
        self.check(id, &known)
    }

    /// From memory, unless it is over as far as memory knows: another replica may have seen it later.
    fn in_memory(&self, id: &IdHash) -> Option<Arc<Known>> {
        let now_ms = self.clock.now_ms();
        let known = self.memory.get(id);
        known.filter(|known| known.remaining_ms(now_ms).is_some())
    }

    fn remember(&self, row: SessionRow) -> Arc<Known> {
        let id = row.id_hash;
        let known = Arc::new(Known::new(row, &self.keys, &self.activity));
        self.memory.insert(id, &known);
        known
    }

    fn check(&self, id: &IdHash, known: &Known) -> Result<(), Refusal> {
        let ended = self
            .memory
            .has_ended_anywhere(Some(id), &known.live.session_ref);
        if ended.is_some() {
            return Err(self.unknown(Some(*id)));
        }
        if known.remaining_ms(self.clock.now_ms()).is_none() {
            self.overdue.note(*id);
            return Err(Reason::SessionExpired.into());
        }
        Ok(())
    }

    /// What a session does, those that led to it do too.
    fn note_family(&self, id: IdHash, known: &Known, now_ms: u64) {
        self.note(id, known, now_ms);
        for ancestor in &known.ancestors {
            if let Some(known) = self.memory.get(ancestor) {
                self.note(*ancestor, &known, now_ms);
            }
        }
    }

    fn note(&self, id: IdHash, known: &Known, now_ms: u64) {
        if known.seen(now_ms) {
            self.activity.note(id, now_ms, known.due_ms(now_ms));
        }
    }

    /// What the log says of a session now.
    fn event(&self, row: &SessionRow, kind: EventKind) -> Event {
        Event {
            at_ms: self.clock.now_ms(),
            kind,
            session_ref: row.session_ref.clone(),
            account: row.account.clone(),
            runtime: row.runtime.clone(),
            cause: None,
            parent_ref: row.parent().map(|parent| self.keys.session_ref(parent)),
            previous_ref: None,
            result: None,
        }
    }

    fn unknown(&self, id: Option<IdHash>) -> Refusal {
        let session = id.map_or("not an id".to_owned(), |id| self.keys.session_ref(&id));
        let cause = self.memory.has_ended_anywhere(id.as_ref(), &session);
        if cause.is_some_and(EndCause::is_by_time) {
            return Reason::SessionExpired.into();
        }
        if self.unknown_sessions.admit() {
            tracing::info!(target: "berth::audit", event = "unknown-session", session);
        }
        Reason::UnknownSession.into()
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.abort();
        }
    }
}

/// The refusal for a store that does not answer, or for one that is read-only. Why it does not answer the store
/// itself logs, once: of every request the log would grow by what anybody sends.
pub(crate) fn store_down(error: &StoreError) -> Refusal {
    if *error == StoreError::ReadOnly {
        return Reason::ReadOnlyStore.into();
    }
    match error {
        StoreError::Down(_) => tracing::debug!(%error, "refused: no answer"),
        _ => tracing::error!(%error, "the session store has data that do not fit"),
    }
    Refusal::new(Reason::StoreDown).retry_after(STORE_RETRY_S)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
