//! The engine's sessions: which socket belongs to which, what each has open, and how long one outlives
//! its last socket.
//!
//! One table under one lock holds every count, so that health, metrics and statistics never disagree.

mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use table::Table;
use tokio::runtime::Handle;

pub use table::SessionView;
pub(crate) use table::{Count, OpenApp, SessionKey};

/// A session exists, but for another user.
pub(crate) const OTHER_USER: &str = "SESSION_ERROR_SECURITY_HEADER_CHANGED";
/// There are as many sessions as there may be.
pub(crate) const LIMIT: &str = "SESSION_ERROR_LIMIT_EXCEEDED";

/// Every session of one engine.
pub(crate) struct Sessions {
    table: Mutex<Table>,
    max_ttl: u64,
}

/// What a new socket asks for.
pub(crate) struct Wish {
    pub(crate) key: SessionKey,
    pub(crate) user: String,
    /// Seconds; `None` leaves the session's own.
    pub(crate) ttl: Option<u64>,
    /// The most sessions that may exist.
    pub(crate) limit: Option<usize>,
}

impl Sessions {
    /// `max_ttl` in seconds.
    pub(crate) fn new(max_ttl: u64) -> Self {
        let table = Mutex::default();
        Self { table, max_ttl }
    }

    /// Attaches a new socket to the session it names, which is created if need be.
    ///
    /// # Errors
    /// The session's error state: [`OTHER_USER`] or [`LIMIT`].
    pub(crate) fn attach(self: &Arc<Self>, wish: Wish) -> Result<Attachment, &'static str> {
        let ttl = wish.ttl.map(|ttl| ttl.min(self.max_ttl));
        let created = self.lock().attach(&wish.key, &wish.user, ttl, wish.limit)?;
        Ok(Attachment {
            sessions: Arc::clone(self),
            key: wish.key,
            created,
        })
    }

    /// The numbers of now.
    pub(crate) fn count(&self) -> Count {
        self.lock().count()
    }

    /// Every live session.
    pub(crate) fn list(&self) -> Vec<SessionView> {
        self.lock().list()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called once per socket. A session whose last socket has gone stays for its TTL.
    fn detach(self: &Arc<Self>, key: &SessionKey) {
        let Some(wait) = self.lock().detach(key) else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (sessions, key) = (Arc::downgrade(self), key.clone());
        runtime.spawn(async move {
            tokio::time::sleep(wait.time).await;
            if let Some(sessions) = sessions.upgrade() {
                sessions.lock().expire(&key, wait.turn);
            }
        });
    }
}

/// One socket's hold on its session; ends with the socket, however that ends.
pub(crate) struct Attachment {
    sessions: Arc<Sessions>,
    key: SessionKey,
    /// The session did not exist before.
    pub(crate) created: bool,
}

impl Attachment {
    /// What the session has open.
    pub(crate) fn app(&self) -> Option<OpenApp> {
        self.sessions.lock().app(&self.key)
    }

    /// Makes `app` the session's open one, if none is; returns the one that is open then.
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
