//! The keys in the accounting of one engine. A key counts as one session while it has no stream. Its streams share that
//! session, or the first of them uses it and each further one counts by itself.

use super::super::SessionLifetime;
use super::super::key_count::KeyCount;
use super::super::pending_cost::CostEstimate;
use super::super::queue::Ticket;
use super::{AccountingState, ClosedStream, SessionId};
use crate::accounting::ledger_entry::LedgerEntry;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;

/// One key that counts.
#[derive(Debug)]
pub(in crate::accounting) struct KeyEntry {
    counts: KeyCount,
    /// Those with streams, or the one without.
    sessions: BTreeSet<SessionId>,
}

impl AccountingState {
    /// The key counts from now on. `estimate`: what it is expected to cost. Has no effect if it counts already.
    pub(in crate::accounting) fn add_key(
        &mut self,
        name: &Arc<str>,
        counts: KeyCount,
        estimate: Option<CostEstimate>,
        ledger_name: Option<Arc<str>>,
        now: Instant,
    ) {
        if self.keys.contains_key(name) {
            return;
        }
        let id = self.add_session(now, Ticket::NONE, ledger_name);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.holders = 0;
            session.hidden = true;
            session.key = Some(Arc::clone(name));
        }
        if let Some(estimate) = estimate {
            self.pending_cost.placed(&estimate);
            self.hidden_costs.push((now, estimate));
        }
        self.idle_keys = self.idle_keys.saturating_add(1);
        let entry = KeyEntry {
            counts,
            sessions: BTreeSet::from([id]),
        };
        self.keys.insert(Arc::clone(name), entry);
    }

    /// The key no longer counts; its streams do until they close.
    pub(in crate::accounting) fn remove_key(
        &mut self,
        name: &str,
        ledger: Option<&LedgerEntry>,
        now: Instant,
    ) {
        let Some(entry) = self.keys.remove(name) else {
            return;
        };
        for id in entry.sessions {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.key = None;
            if session.holders > 0 {
                continue;
            }
            self.idle_keys = self.idle_keys.saturating_sub(1);
            let ended = ClosedStream {
                earliest: now,
                latest: now,
            };
            self.end_session(id, ended, ledger);
        }
    }

    /// Another replica counts the key now: this one still counts the streams that count by themselves.
    pub(in crate::accounting) fn transfer_key(&mut self, name: &str) {
        let Some(entry) = self.keys.remove(name) else {
            return;
        };
        for (position, id) in entry.sessions.into_iter().enumerate() {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.key = None;
            if session.holders == 0 {
                self.idle_keys = self.idle_keys.saturating_sub(1);
            }
            if position == 0
                && let Some(session) = self.sessions.remove(&id)
            {
                self.remove_unprobed(session.unprobed);
            }
        }
    }

    /// A stream of the key joins its session. `None`: the key does not count here, or the stream counts by itself.
    pub(in crate::accounting) fn join_key(
        &mut self,
        name: &str,
        lifetime: &SessionLifetime,
        now: Instant,
    ) -> Option<SessionId> {
        let entry = self.keys.get(name)?;
        let id = *entry.sessions.first()?;
        let is_idle = self.sessions.get(&id).is_some_and(|s| s.holders == 0);
        let joins = entry.counts == KeyCount::Key || is_idle;
        (joins && self.join(id, lifetime, now)).then_some(id)
    }

    /// A stream of the key counts by itself.
    pub(in crate::accounting) fn add_to_key(&mut self, name: &str, id: SessionId) {
        let Some((name, _)) = self.keys.get_key_value(name) else {
            return;
        };
        let name = Arc::clone(name);
        if let Some(entry) = self.keys.get_mut(&name) {
            entry.sessions.insert(id);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.key = Some(name);
        }
    }

    pub(super) fn remove_from_key(&mut self, name: &str, id: SessionId) {
        if let Some(entry) = self.keys.get_mut(name) {
            entry.sessions.remove(&id);
        }
    }

    /// Whether the session, which has no stream any more, is the last one of its key.
    pub(super) fn stays_for_key(&self, id: SessionId) -> bool {
        let key = self
            .sessions
            .get(&id)
            .and_then(|session| session.key.as_ref());
        let entry = key.and_then(|key| self.keys.get(key));
        entry.is_some_and(|entry| entry.sessions.len() == 1)
    }

    /// Streams of the key, open or expected.
    pub(in crate::accounting) fn key_streams(&self, name: &str) -> u32 {
        let Some(entry) = self.keys.get(name) else {
            return 0;
        };
        let sessions = entry.sessions.iter();
        let holders = sessions.filter_map(|id| Some(self.sessions.get(id)?.holders));
        holders.fold(0, u32::saturating_add)
    }
}
