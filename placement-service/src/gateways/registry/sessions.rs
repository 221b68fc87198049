//! The sessions that have open streams, and when the status of each must be checked: immediately when a stream
//! opens, and at the time at which it would expire. Does not check it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Sessions by `session_ref`.
#[derive(Default)]
pub(in crate::gateways) struct BySession {
    /// At most as many as there are streams.
    sessions: HashMap<Arc<str>, Session>,
    /// The checks in order of time. Milliseconds since the Unix epoch.
    due: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Default)]
struct Session {
    streams: HashSet<Arc<str>>,
    /// When it is checked next. `None`: it is being checked, or needs no check.
    due_ms: Option<u64>,
}

impl BySession {
    /// Adds an open stream of the session. Returns the session's name, shared.
    pub(super) fn opened(&mut self, session: &str, stream: Arc<str>, now_ms: u64) -> Arc<str> {
        let entry = self.sessions.get_key_value(session);
        let name = entry.map_or_else(|| Arc::from(session), |(name, _)| Arc::clone(name));
        let entry = self.sessions.entry(Arc::clone(&name)).or_default();
        entry.streams.insert(stream);
        self.schedule_check(&name, now_ms);
        name
    }

    /// Removes a stream of the session.
    pub(super) fn closed(&mut self, session: &str, stream: &str) {
        let Some(entry) = self.sessions.get_mut(session) else {
            return;
        };
        entry.streams.remove(stream);
        if entry.streams.is_empty()
            && let Some((name, removed)) = self.sessions.remove_entry(session)
            && let Some(due_ms) = removed.due_ms
        {
            self.due.remove(&(due_ms, name));
        }
    }

    /// The streams of the session.
    pub(super) fn streams(&self, session: &str) -> impl Iterator<Item = &Arc<str>> {
        let session = self.sessions.get(session);
        session.into_iter().flat_map(|session| &session.streams)
    }

    /// Schedules a check of the session at that time, unless one is scheduled before.
    pub(in crate::gateways) fn schedule_check(&mut self, session: &str, at_ms: u64) {
        let Some((name, _)) = self.sessions.get_key_value(session) else {
            return;
        };
        let name = Arc::clone(name);
        let Some(entry) = self.sessions.get_mut(session) else {
            return;
        };
        if let Some(due_ms) = entry.due_ms {
            if due_ms <= at_ms {
                return;
            }
            self.due.remove(&(due_ms, Arc::clone(&name)));
        }
        entry.due_ms = Some(at_ms);
        self.due.insert((at_ms, name));
    }

    /// Sessions whose check is due, at most `limit`. The caller schedules their next check.
    pub(in crate::gateways) fn take_due(&mut self, now_ms: u64, limit: usize) -> Vec<Arc<str>> {
        let mut due_sessions = Vec::new();
        while due_sessions.len() < limit
            && self.due.first().is_some_and(|(at_ms, _)| *at_ms <= now_ms)
            && let Some((_, name)) = self.due.pop_first()
        {
            if let Some(entry) = self.sessions.get_mut(&name) {
                entry.due_ms = None;
            }
            due_sessions.push(name);
        }
        due_sessions
    }

    /// The number of sessions, and of scheduled checks.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.sessions.len(), self.due.len())
    }
}
