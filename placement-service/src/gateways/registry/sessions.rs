//! The sessions that have open streams, and when each is to be looked at: at once when a stream opens, and
//! when it would be over if nothing more happened.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Sessions by their public names.
#[derive(Default)]
pub(in crate::gateways) struct BySession {
    /// Not more than there are streams.
    sessions: HashMap<Arc<str>, Session>,
    /// By when. Milliseconds since the Unix epoch.
    due: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Default)]
struct Session {
    streams: HashSet<Arc<str>>,
    /// `None`: somebody is looking, or there is no need.
    due_ms: Option<u64>,
}

impl BySession {
    /// A stream of the session is open; the session's name, shared.
    pub(super) fn opened(&mut self, session: &str, stream: Arc<str>, now_ms: u64) -> Arc<str> {
        let known = self.sessions.get_key_value(session);
        let name = known.map_or_else(|| Arc::from(session), |(name, _)| Arc::clone(name));
        let entry = self.sessions.entry(Arc::clone(&name)).or_default();
        entry.streams.insert(stream);
        self.look_at(&name, now_ms);
        name
    }

    /// A stream of the session is no longer open.
    pub(super) fn closed(&mut self, session: &str, stream: &str) {
        let Some(known) = self.sessions.get_mut(session) else {
            return;
        };
        known.streams.remove(stream);
        if known.streams.is_empty()
            && let Some((name, gone)) = self.sessions.remove_entry(session)
            && let Some(due_ms) = gone.due_ms
        {
            self.due.remove(&(due_ms, name));
        }
    }

    /// Streams of the session.
    pub(super) fn streams(&self, session: &str) -> impl Iterator<Item = &Arc<str>> {
        let session = self.sessions.get(session);
        session.into_iter().flat_map(|session| &session.streams)
    }

    /// The session is to be looked at by then, or before if that was said already.
    pub(in crate::gateways) fn look_at(&mut self, session: &str, at_ms: u64) {
        let Some((name, _)) = self.sessions.get_key_value(session) else {
            return;
        };
        let name = Arc::clone(name);
        let Some(known) = self.sessions.get_mut(session) else {
            return;
        };
        if let Some(due_ms) = known.due_ms {
            if due_ms <= at_ms {
                return;
            }
            self.due.remove(&(due_ms, Arc::clone(&name)));
        }
        known.due_ms = Some(at_ms);
        self.due.insert((at_ms, name));
    }

    /// Sessions that are to be looked at by now, at most `limit`. Whoever takes them says when next.
    pub(in crate::gateways) fn take_due(&mut self, now_ms: u64, limit: usize) -> Vec<Arc<str>> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && self.due.first().is_some_and(|(at_ms, _)| *at_ms <= now_ms)
            && let Some((_, name)) = self.due.pop_first()
        {
            if let Some(known) = self.sessions.get_mut(&name) {
                known.due_ms = None;
            }
            taken.push(name);
        }
        taken
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.sessions.len(), self.due.len())
    }
}
