//! The session table, without timers. Only this module changes the counts.

use super::{LIMIT_EXCEEDED, OTHER_USER};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

/// What identifies a session: the header `X-Qlik-Session`, else the user and the identifier in the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SessionKey {
    Header(String),
    Path { user: String, id: String },
}

/// What a session has open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpenApp {
    Document(String),
    SessionApp(String),
}

impl OpenApp {
    /// The document's name or the session app's identifier.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Document(id) | Self::SessionApp(id) => id,
        }
    }
}

/// A live session, as `GET /admin/sessions` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// `X-Qlik-Session`, else the identifier in the path.
    pub id: String,
    /// The token's `sub`.
    pub user: String,
    /// Open sockets; 0: it waits for its TTL.
    pub sockets: usize,
    /// Seconds that it outlives its last socket.
    pub ttl: u64,
    /// The open document or session app.
    pub app: Option<String>,
}

/// A snapshot of the counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionCounts {
    /// Live sessions, including waiting ones.
    pub(crate) sessions: usize,
    /// Sessions without a socket.
    pub(crate) waiting: usize,
    pub(crate) sockets: usize,
    pub(crate) created: u64,
    pub(crate) attached: u64,
    pub(crate) users: usize,
    pub(crate) users_total: usize,
    /// Documents that a session has open, with the sockets of those sessions.
    pub(crate) documents: Vec<(String, usize)>,
}

/// A session without a socket waits until `delay` has passed or a socket attaches.
pub(super) struct PendingExpiry {
    pub(super) delay: Duration,
    pub(super) generation: u64,
}

struct Session {
    user: String,
    ttl: u64,
    sockets: usize,
    app: Option<OpenApp>,
    /// Changes with every attach and detach, so an old wait cannot end a session that was used since.
    generation: u64,
}

#[derive(Default)]
struct DocumentUse {
    sessions: usize,
    sockets: usize,
}

#[derive(Default)]
pub(super) struct SessionTable {
    live: HashMap<SessionKey, Session>,
    documents: BTreeMap<String, DocumentUse>,
    users: HashMap<String, usize>,
    users_seen: HashSet<String>,
    waiting: usize,
    sockets: usize,
    created: u64,
    attached: u64,
}

impl SessionTable {
    /// Attaches a socket. Returns whether this created the session.
    pub(super) fn attach(
        &mut self,
        key: &SessionKey,
        user: &str,
        ttl: Option<u64>,
        limit: Option<usize>,
    ) -> Result<bool, &'static str> {
        if let Some(session) = self.live.get_mut(key) {
            if session.user != user {
                return Err(OTHER_USER);
            }
            if session.sockets == 0 {
                self.waiting -= 1;
            }
            session.generation += 1;
            session.sockets += 1;
            session.ttl = ttl.unwrap_or(session.ttl);
            if let Some(usage) = document_use(&mut self.documents, session.app.as_ref()) {
                usage.sockets += 1;
            }
            self.sockets += 1;
            self.attached += 1;
            return Ok(false);
        }
        if limit.is_some_and(|limit| self.live.len() >= limit) {
            return Err(LIMIT_EXCEEDED);
        }
        let session = Session {
            user: user.to_owned(),
            ttl: ttl.unwrap_or(0),
            sockets: 1,
            app: None,
            generation: 0,
        };
        self.live.insert(key.clone(), session);
        *self.users.entry(user.to_owned()).or_default() += 1;
        if !self.users_seen.contains(user) {
            self.users_seen.insert(user.to_owned());
        }
        self.sockets += 1;
        self.created += 1;
        Ok(true)
    }

    /// Detaches a socket. Returns a wait if it was the last one and the session has a TTL.
    pub(super) fn detach(&mut self, key: &SessionKey) -> Option<PendingExpiry> {
        let session = self.live.get_mut(key)?;
        session.sockets -= 1;
        self.sockets -= 1;
        if let Some(usage) = document_use(&mut self.documents, session.app.as_ref()) {
            usage.sockets -= 1;
        }
        if session.sockets > 0 {
            return None;
        }
        self.waiting += 1;
        session.generation += 1;
        let (generation, ttl) = (session.generation, Duration::from_secs(session.ttl));
        if ttl.is_zero() {
            self.expire(key, generation);
            return None;
        }
        Some(PendingExpiry {
            delay: ttl,
            generation,
        })
    }

    /// Ends a session that has not been used since `generation`.
    pub(super) fn expire(&mut self, key: &SessionKey, generation: u64) {
        if self
            .live
            .get(key)
            .is_none_or(|session| session.generation != generation)
        {
            return;
        }
        let Some(session) = self.live.remove(key) else {
            return;
        };
        self.waiting -= 1;
        if let Some(count) = self.users.get_mut(&session.user) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&session.user);
            }
        }
        if let Some(usage) = document_use(&mut self.documents, session.app.as_ref()) {
            usage.sessions -= 1;
        }
    }

    pub(super) fn app(&self, key: &SessionKey) -> Option<OpenApp> {
        self.live.get(key).and_then(|session| session.app.clone())
    }

    pub(super) fn open(&mut self, key: &SessionKey, app: OpenApp) -> Option<OpenApp> {
        let session = self.live.get_mut(key)?;
        if session.app.is_none() {
            if let OpenApp::Document(name) = &app {
                let usage = self.documents.entry(name.clone()).or_default();
                usage.sessions += 1;
                usage.sockets += session.sockets;
            }
            session.app = Some(app);
        }
        session.app.clone()
    }

    pub(super) fn count(&self) -> SessionCounts {
        SessionCounts {
            sessions: self.live.len(),
            waiting: self.waiting,
            sockets: self.sockets,
            created: self.created,
            attached: self.attached,
            users: self.users.len(),
            users_total: self.users_seen.len(),
            documents: self
                .documents
                .iter()
                .filter(|(_, usage)| usage.sessions > 0)
                .map(|(name, usage)| (name.clone(), usage.sockets))
                .collect(),
        }
    }

    pub(super) fn list(&self) -> Vec<SessionView> {
        let view = |(key, session): (&SessionKey, &Session)| SessionView {
            id: match key {
                SessionKey::Header(id) | SessionKey::Path { id, .. } => id.clone(),
            },
            user: session.user.clone(),
            sockets: session.sockets,
            ttl: session.ttl,
            app: session.app.as_ref().map(|app| app.id().to_owned()),
        };
        let mut all: Vec<_> = self.live.iter().map(view).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }
}

fn document_use<'a>(
    documents: &'a mut BTreeMap<String, DocumentUse>,
    app: Option<&OpenApp>,
) -> Option<&'a mut DocumentUse> {
    match app? {
        OpenApp::Document(name) => documents.get_mut(name),
        OpenApp::SessionApp(_) => None,
    }
}
