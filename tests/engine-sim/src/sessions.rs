//! The engine's sessions: which socket belongs to which session, what each session has open, and how long a session
//! outlives its last socket.
//!
//! One table under one lock holds every count, so health, metrics and statistics always agree.

mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use table::SessionTable;
use tokio::runtime::Handle;

pub use table::SessionView;
pub(crate) use table::{OpenApp, SessionCounts, SessionKey};

/// The session belongs to another user.
pub(crate) const OTHER_USER: &str = "SESSION_ERROR_SECURITY_HEADER_CHANGED";
/// The maximum number of sessions is reached.
pub(crate) const LIMIT_EXCEEDED: &str = "SESSION_ERROR_LIMIT_EXCEEDED";

/// Every session of one engine.
pub(crate) struct Sessions {
    table: Mutex<SessionTable>,
    max_ttl: u64,
}

/// A new socket's request for a session.
pub(crate) struct AttachRequest {
    pub(crate) key: SessionKey,
    pub(crate) user: String,
    /// In seconds; `None` keeps the TTL of the session.
    pub(crate) ttl: Option<u64>,
    /// The maximum number of sessions.
    pub(crate) limit: Option<usize>,
}

impl Sessions {
    /// `max_ttl` in seconds.
    pub(crate) fn new(max_ttl: u64) -> Self {
        let table = Mutex::default();
        Self { table, max_ttl }
    }

    /// Attaches a new socket to the session that it names. Creates the session if necessary.
    ///
    /// # Errors
    /// The session's error state: [`OTHER_USER`] or [`LIMIT_EXCEEDED`].
    pub(crate) fn attach(
        self: &Arc<Self>,
        request: AttachRequest,
    ) -> Result<Attachment, &'static str> {
        let ttl = request.ttl.map(|ttl| ttl.min(self.max_ttl));
        let created = self
            .lock()
            .attach(&request.key, &request.user, ttl, request.limit)?;
        Ok(Attachment {
            sessions: Arc::clone(self),
            key: request.key,
            created,
        })
    }

    /// The current counts.
    pub(crate) fn count(&self) -> SessionCounts {
        self.lock().count()
    }

    /// Every live session.
    pub(crate) fn list(&self) -> Vec<SessionView> {
        self.lock().list()
    }

    fn lock(&self) -> MutexGuard<'_, SessionTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called once per socket. After its last socket, a session stays for its TTL.
    fn detach(self: &Arc<Self>, key: &SessionKey) {
        let Some(wait) = self.lock().detach(key) else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (sessions, key) = (Arc::downgrade(self), key.clone());
        runtime.spawn(async move {
            tokio::time::sleep(wait.delay).await;
            if let Some(sessions) = sessions.upgrade() {
                sessions.lock().expire(&key, wait.generation);
            }
        });
    }
}

/// The attachment of one socket to its session. It ends with the socket.
pub(crate) struct Attachment {
    sessions: Arc<Sessions>,
    key: SessionKey,
    /// Whether this attachment created the session.
    pub(crate) created: bool,
}

impl Attachment {
    /// What the session has open.
    pub(crate) fn app(&self) -> Option<OpenApp> {
        self.sessions.lock().app(&self.key)
    }

    /// Opens `app` in the session unless another app is open. Returns the app that is open then.
    pub(crate) fn open(&self, app: OpenApp) -> Option<OpenApp> {
        self.sessions.lock().open(&self.key, app)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.sessions.detach(&self.key);
    }
}

#[cfg(test)]
mod tests;
