//! The engine sessions in the accounting of one engine: each counts once, whatever number of streams it has, and until
//! it ends on the engine: when its lifetime after its last stream has passed, or when it was ended there.

use super::{AccountingState, ClosedStream};
use crate::accounting::SessionLifetime;
use crate::accounting::ledger_entry::LedgerEntry;
use crate::accounting::queue::Ticket;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Names one session within the accounting of its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::accounting) struct SessionId(u64);

/// What the accounting knows of a session.
#[derive(Debug)]
pub(in crate::accounting) struct SessionEntry {
    /// Its place among the unprobed sessions.
    pub(in crate::accounting) unprobed: Ticket,
    /// Its streams, and the reservations that join it.
    pub(in crate::accounting) holders: u32,
    /// A gateway has reported one of its streams open.
    opened: bool,
    /// It was ended on the engine while it had streams: it ends with the last one.
    pub(in crate::accounting) ended: bool,
    /// When its last stream closed; before that, when it began to count.
    pub(in crate::accounting) closed: ClosedStream,
    /// The probes of its pool do not count it at present.
    pub(super) hidden: bool,
    /// The name of its stream under which the ledger counts it.
    pub(super) ledger_name: Option<Arc<str>>,
    /// The key that it counts for: the last session of a key stays without a stream.
    pub(super) key: Option<Arc<str>>,
}

impl SessionEntry {
    /// How long it stays on the engine without a stream.
    pub(in crate::accounting) fn linger(&self, lifetime: &SessionLifetime) -> Duration {
        match (self.ended, self.opened) {
            (true, _) => Duration::ZERO,
            (false, true) => lifetime.after_close,
            (false, false) => lifetime.unopened,
        }
    }
}

impl AccountingState {
    /// Adds a session with one stream, which counts from `since` on.
    pub(in crate::accounting) fn add_session(
        &mut self,
        since: Instant,
        unprobed: Ticket,
        ledger_name: Option<Arc<str>>,
    ) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session += 1;
        let closed = ClosedStream {
            earliest: since,
            latest: since,
        };
        let session = SessionEntry {
            unprobed,
            holders: 1,
            opened: false,
            ended: false,
            closed,
            hidden: false,
            ledger_name,
            key: None,
        };
        self.sessions.insert(id, session);
        id
    }

    /// A gateway has reported a stream of the session open.
    pub(in crate::accounting) fn mark_opened(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.opened = true;
        }
    }

    /// A stream, or a reservation for one, joins the session. `false` when the session has ended.
    pub(in crate::accounting) fn join(
        &mut self,
        id: SessionId,
        lifetime: &SessionLifetime,
        now: Instant,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| !session.ended) else {
            return false;
        };
        if session.holders == 0 {
            if session.key.is_some() {
                self.idle_keys = self.idle_keys.saturating_sub(1);
            } else {
                let until = session.closed.latest + session.linger(lifetime);
                self.lingering.remove(&(until, id));
            }
        }
        session.holders = session.holders.saturating_add(1);
        if std::mem::take(&mut session.hidden) {
            // The next probe counts it again.
            session.unprobed = self.unprobed.push((now, Default::default()));
        }
        true
    }

    /// A stream, or a reservation for one, leaves the session. `closed`: when the stream closed; `None`: it never
    /// opened.
    pub(in crate::accounting) fn leave(
        &mut self,
        id: SessionId,
        closed: Option<ClosedStream>,
        lifetime: &SessionLifetime,
        ledger: Option<&LedgerEntry>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.closed = closed.unwrap_or(session.closed);
        session.holders = session.holders.saturating_sub(1);
        if session.holders > 0 {
            return;
        }
        let (unprobed, closed, linger) =
            (session.unprobed, session.closed, session.linger(lifetime));
        if self.stays_for_key(id) {
            self.hide(id, unprobed, closed);
            self.idle_keys = self.idle_keys.saturating_add(1);
            return;
        }
        if linger.is_zero() {
            self.end_session(id, closed, ledger);
            return;
        }
        self.lingering.insert((closed.latest + linger, id));
        if !lifetime.probe_counts_lingering {
            self.hide(id, unprobed, closed);
        }
    }

    /// From now on probes do not count the session.
    fn hide(&mut self, id: SessionId, unprobed: Ticket, closed: ClosedStream) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.hidden = true;
        }
        if let Some((since, estimate)) = self.unprobed.take(unprobed) {
            // The memory of the engine still grows by the session, which the next probe shows.
            self.hidden_costs.push((since, estimate));
        } else {
            self.record_closed(closed);
        }
    }

    /// A session ends within this time.
    pub(in crate::accounting) fn end_session(
        &mut self,
        id: SessionId,
        ended: ClosedStream,
        ledger: Option<&LedgerEntry>,
    ) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(key) = &session.key {
            self.remove_from_key(key, id);
        }
        if !session.hidden && !self.remove_unprobed(session.unprobed) {
            self.record_closed(ended);
        }
        if let (Some(ledger), Some(name)) = (ledger, session.ledger_name) {
            ledger.released(&name);
        }
    }

    /// Removes a session that no longer belongs to this replica. Returns `true` when a probe has counted it.
    pub(in crate::accounting) fn transfer_session(&mut self, id: SessionId) -> bool {
        match self.sessions.get_mut(&id) {
            None => false,
            Some(session) if session.holders > 1 => {
                session.holders -= 1;
                session.ledger_name = None;
                false
            }
            Some(_) => self
                .sessions
                .remove(&id)
                .is_some_and(|session| !session.hidden && !self.remove_unprobed(session.unprobed)),
        }
    }

    /// Ends the sessions whose lifetime has passed.
    pub(in crate::accounting) fn expire_sessions(
        &mut self,
        lifetime: &SessionLifetime,
        now: Instant,
        ledger: Option<&LedgerEntry>,
    ) {
        while let Some((until, id)) = self.lingering.first().copied()
            && until <= now
        {
            self.lingering.pop_first();
            let Some(session) = self.sessions.get(&id) else {
                continue;
            };
            let linger = session.linger(lifetime);
            let ended = ClosedStream {
                earliest: session.closed.earliest + linger,
                latest: until,
            };
            self.end_session(id, ended, ledger);
        }
    }

    /// How many sessions a probe that began at `probe_start` may have counted that counts only those with a stream.
    pub(in crate::accounting) fn count_visible(&self, probe_start: Instant) -> usize {
        let is_visible = |session: &&SessionEntry| {
            // When its stream closed, before the report of that, is not known exactly.
            session.holders > 0 || session.closed.latest > probe_start
        };
        self.sessions.values().filter(is_visible).count()
    }

    /// The last probe has counted a session that is gone since, unless that was gone before the probe.
    fn record_closed(&mut self, closed: ClosedStream) {
        let Some(probed_at) = self.probed_at.filter(|at| closed.earliest <= *at) else {
            self.closed.push(closed);
            return;
        };
        if closed.latest <= probed_at {
            return;
        }
        // It may have been gone before the probe. Then the probe counted one less than expected, or it counted an
        // unprobed session in its place.
        if self.missing > 0 {
            self.missing -= 1;
        } else {
            self.take_probed(|since| since <= probed_at, 1);
        }
    }
}
