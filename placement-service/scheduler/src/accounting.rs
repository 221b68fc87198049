//! The books of one engine: sessions placed, counted from the moment of the choice, and streams that
//! gateways have reported open. A reservation is an RAII handle while the placement is under way and an
//! entry under the stream's name afterwards: it becomes an open stream when a gateway reports it, lapses
//! when none does, and ends with the stream. What the last probe has seen is told from what it has not,
//! so that nothing counts twice. Knows nothing of strategies, drivers or gateways; time is an argument.

mod handles;
mod ledger_entry;
mod pending_cost;
mod queue;
mod registry;
mod remote_sessions;
mod snapshot;
mod state;
mod stream_counts;

use crate::circuit_breaker::Trust;
use crate::cost::{Kind, PoolCosts};
use crate::engine::Load;
pub use handles::{Reservation, Trial};
pub use ledger_entry::Account;
use pending_cost::Expected;
use queue::Ticket;
pub use registry::Tallies;
pub use snapshot::Standing;
use state::{Books, Left, Stream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
pub use stream_counts::{ChangedCount, PoolStreams, StreamCounts, StreamLimits, StreamSlot};
use tokio::time::Instant;

/// How long a new session may take to show in an engine's numbers: its client has yet to connect.
const SETTLE: Duration = Duration::from_millis(500);

/// The books of one engine, shared by all snapshots of it.
#[derive(Debug)]
pub struct Tally {
    ttl: Duration,
    /// `None`: this is the only replica.
    account: Option<Account>,
    /// The streams of the engine's pool by session.
    streams: Arc<PoolStreams>,
    books: Mutex<Books>,
}

impl Tally {
    /// Empty books. A placement that no gateway reports open counts for `ttl` at the most.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self::with(ttl, None, Arc::default())
    }

    /// Empty books that are told to the replicas' ledger under that account, if there is one. `streams`: of the
    /// engine's pool.
    #[must_use]
    pub fn with(ttl: Duration, account: Option<Account>, streams: Arc<PoolStreams>) -> Self {
        Self {
            ttl,
            account,
            streams,
            books: Mutex::default(),
        }
    }

    /// A panic elsewhere leaves whole numbers behind: go on with them.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the engine's probes teach the pool what sessions cost.
    pub(crate) fn share_costs(&self, costs: &Arc<PoolCosts>) {
        self.books().pool_costs = Some(Arc::clone(costs));
    }

    /// Placements that neither a probe nor a gateway has confirmed.
    #[must_use]
    pub fn unconfirmed(&self, now: Instant) -> u32 {
        let mut books = self.books();
        books.lapse(self.ttl, now, self.account.as_ref());
        let streams = books.waiting.iter();
        let streams = streams.filter_map(|(_, name)| books.streams.get(name));
        let unseen = |stream: &&Stream| books.unseen.get(stream.unseen).is_some();
        let waiting = streams.filter(unseen).count();
        books.pending.saturating_add(count(waiting))
    }

    /// Counts one more session at once, which no choice has brought. `turn` is the number of the engine's last one.
    pub fn reserve(self: &Arc<Self>, turn: u64) -> Reservation {
        let mut books = self.books();
        let expected = books.take_on(turn, Kind::default());
        drop(books);
        self.handle(expected)
    }

    /// Counts one more session of that kind at once, with its estimated cost.
    pub fn reserve_for(self: &Arc<Self>, turn: u64, kind: Kind) -> Reservation {
        let expected = self.books().take_on(turn, kind);
        self.handle(expected)
    }

    /// Of a session that counts.
    fn handle(self: &Arc<Self>, expected: Expected) -> Reservation {
        Reservation {
            tally: Arc::clone(self),
            expected,
            slot: None,
            stream: None,
            placed: false,
        }
    }

    /// A gateway has reported the session's stream open, which it is since `since`.
    pub fn opened(&self, stream: &str, session_ref: &str, since: Instant) {
        let mut books = self.books();
        if let Some(waiting) = books.streams.get(stream).map(|known| known.waiting) {
            books.waiting.take(waiting);
            return;
        }
        // Placed by another process, or longer ago than a reservation counts.
        let name: Arc<str> = stream.into();
        if let Some(account) = &self.account {
            account.opened(&name);
        }
        let unseen = if books.probed_at.is_none_or(|began| since + SETTLE > began) {
            books.expect(since, Expected::default())
        } else {
            Ticket::NONE
        };
        let stream = Stream {
            since,
            waiting: Ticket::NONE,
            unseen,
            _slot: Some(self.streams.adopt(session_ref)),
        };
        books.streams.insert(name, stream);
    }

    /// The stream is closed, or never came to be. `lasted`: it was open for so long at the least. What may
    /// have closed before the last probe began is not in that probe's count for certain, so it is not
    /// taken from it: until the next probe there may be fewer sessions than counted, never more. Closing it
    /// again changes nothing. `false` when it was not in these books.
    pub fn closed(&self, stream: &str, lasted: Duration, now: Instant) -> bool {
        let mut books = self.books();
        let Some(known) = books.streams.remove(stream) else {
            return false;
        };
        if let Some(account) = &self.account {
            account.released(stream);
        }
        books.waiting.take(known.waiting);
        let since = known.since.checked_add(lasted);
        let since = since.map_or(now, |since| since.min(now));
        if !books.expect_no_more(known.unseen) && books.probed_at.is_none_or(|began| since > began)
        {
            books.left.push(Left { since, told: now });
        }
        true
    }

    /// A probe that began at `began` saw so many sessions.
    pub fn probed(&self, began: Instant, sessions: u32) {
        let load = Load {
            sessions: Some(sessions),
            ..Load::default()
        };
        self.measured(began, &load);
    }

    /// The numbers of a probe that began at `began`. Placements made well before are in them. Of those made
    /// just before, as many as the growth of the sessions shows.
    pub fn measured(&self, began: Instant, load: &Load) {
        let mut books = self.books();
        let mut seen = books.see(|at| at + SETTLE <= began, usize::MAX);
        let settled = count(seen.len());
        // Only these have closed before for certain.
        let closed = books.left.iter().filter(|left| left.told <= began);
        let closed = count(closed.count());
        books.left.retain(|left| left.since > began);
        let elsewhere = books.elsewhere.probed(began);
        if let Some(sessions) = load.sessions {
            let known = books.probed.saturating_sub(closed).saturating_add(settled);
            let known = i64::from(known).saturating_add(elsewhere).max(0);
            let known = u32::try_from(known).unwrap_or(u32::MAX);
            let grown = usize::try_from(sessions.saturating_sub(known)).unwrap_or(usize::MAX);
            seen.extend(books.see(|at| at <= began, grown));
            books.probed = sessions;
        }
        books.probed_at = Some(began);
        let lessons = books.coming.measured(&seen, load);
        if let Some(costs) = &books.pool_costs {
            costs.learn(&lessons);
        }
    }

    /// There is nothing to be remembered: none under way, waited for or open, and no drain.
    #[must_use]
    fn is_empty(&self) -> bool {
        let books = self.books();
        books.pending == 0 && books.streams.is_empty() && !books.draining
    }

    /// From now on it gets nothing new, or it does again.
    pub fn drain(&self, draining: bool) {
        let mut books = self.books();
        books.draining = draining;
    }

    /// The engine has come up just now: its weight grows from here.
    pub fn came_up(&self, now: Instant) {
        let mut books = self.books();
        books.up_since = Some(now);
    }

    /// Begins a trial of a suspect engine, if one is due.
    #[must_use]
    pub fn begin_trial(self: &Arc<Self>, now: Instant) -> Option<Trial> {
        let mut books = self.books();
        if books.suspicion.trust(now) != Trust::TrialDue {
            return None;
        }
        books.suspicion.begin_trial();
        Some(Trial(Arc::clone(self)))
    }

    /// A placement that began at `began` failed through the engine's fault. True when that is news.
    pub fn failed(&self, began: Instant, now: Instant) -> bool {
        let mut books = self.books();
        books.suspicion.failed(began, now)
    }

    /// The engine served. True when it was suspect before.
    pub fn served(&self) -> bool {
        self.books().suspicion.cleared()
    }
}

fn count(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
