//! What the probe of an engine cannot know yet: sessions placed since, counted from the moment of the
//! choice. A reservation is an RAII handle while the placement is under way and a dated entry
//! afterwards, until a probe has seen the session or the entry lapses. It cannot leak: dropping the
//! handle gives it back. Knows nothing of strategies or drivers; time is an argument.

mod changes;
mod coming;

use crate::cost::{Cost, Kind};
use crate::engine::Load;
use crate::suspicion::{Suspicion, Trust};
use changes::Listener;
use coming::{Coming, Expected};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

pub use changes::Changes;

/// How long a new session may take to show in an engine's numbers: its client has yet to connect.
const SETTLE: Duration = Duration::from_millis(500);

/// The books of one engine, shared by all snapshots of it.
#[derive(Debug)]
pub struct Tally {
    ttl: Duration,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// Handles alive: placements under way.
    pending: u32,
    /// When each placement was made that no probe has confirmed; oldest first.
    placed: VecDeque<Instant>,
    /// Sessions that the last probe saw.
    probed: u32,
    /// The turn in which round-robin last chose this engine.
    turn: u64,
    suspicion: Suspicion,
    /// It is to get nothing new.
    draining: bool,
    /// When it came up, if that was seen.
    up_since: Option<Instant>,
    listener: Option<Listener>,
    coming: Coming,
}

impl Books {
    /// Whoever chooses has to look again.
    fn changed(&mut self) {
        if let Some(listener) = &mut self.listener {
            listener.changed();
        }
    }
}

/// What a choice needs to know of the books.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Sessions that count although no probe has seen them.
    pub reserved: u32,
    /// The turn in which round-robin last chose this engine.
    pub turn: u64,
    /// Whether it may be used.
    pub trust: Trust,
    /// It is to get nothing new.
    pub draining: bool,
    /// When it came up, if that was seen.
    pub up_since: Option<Instant>,
    /// What the sessions that no probe has seen are going to take.
    pub coming: Cost,
    /// The CPU in use, smoothed over the last probes, 0 to 1.
    pub cpu: Option<f64>,
}

impl Tally {
    /// Empty books. A placement that no probe confirms counts for `ttl` at the most.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            books: Mutex::default(),
        }
    }

    /// A panic elsewhere leaves whole numbers behind: go on with them.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on each change that makes the engine look different to a choice is noted there, under
    /// that number; whoever was told before is not any more.
    pub fn tell(&self, changes: &Arc<Changes>, number: u32) {
        self.books().listener = Some(Listener::new(Arc::clone(changes), number));
    }

    /// The books as of `now`.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        let mut books = self.books();
        while books.placed.front().is_some_and(|t| *t + self.ttl <= now) {
            books.placed.pop_front();
        }
        books.coming.lapse(self.ttl, now);
        if let Some(listener) = &mut books.listener {
            listener.looked();
        }
        let placed = u32::try_from(books.placed.len()).unwrap_or(u32::MAX);
        Standing {
            reserved: books.pending.saturating_add(placed),
            turn: books.turn,
            trust: books.suspicion.trust(now),
            draining: books.draining,
            up_since: books.up_since,
            coming: books.coming.cost(),
            cpu: books.coming.cpu(),
        }
    }

    /// Counts one more session at once. `turn` is the number of this choice within the pool.
    pub fn reserve(self: &Arc<Self>, turn: u64) -> Reservation {
        self.reserve_for(turn, Kind::default(), Cost::default())
    }

    /// Counts one more session of that kind at once, with what it is expected to cost: what such sessions
    /// have cost here, else `guess`.
    pub fn reserve_for(self: &Arc<Self>, turn: u64, kind: Kind, guess: Cost) -> Reservation {
        let mut books = self.books();
        books.pending = books.pending.saturating_add(1);
        books.turn = turn;
        let expected = books.coming.expect(kind, guess);
        books.coming.begin(&expected);
        Reservation {
            tally: Arc::clone(self),
            expected,
        }
    }

    /// The numbers of a probe that began at `began`: the cost of what it has seen is in them.
    pub fn measured(&self, began: Instant, load: &Load) {
        let mut books = self.books();
        let lessons = books.coming.measured(began, load);
        if let Some(listener) = &mut books.listener {
            listener.learned(lessons);
        }
        books.changed();
    }

    /// A probe that began at `began` saw so many sessions. Placements made well before are among
    /// them. Of those made just before, as many as the growth shows.
    pub fn probed(&self, began: Instant, sessions: u32) {
        let mut books = self.books();
        let settled = books.placed.partition_point(|t| *t + SETTLE <= began);
        let recent = books.placed.partition_point(|t| *t <= began) - settled;
        let known = books
            .probed
            .saturating_add(u32::try_from(settled).unwrap_or(u32::MAX));
        let growth = usize::try_from(sessions.saturating_sub(known)).unwrap_or(usize::MAX);
        books.placed.drain(..settled + recent.min(growth));
        books.probed = sessions;
        books.changed();
    }

    /// From now on it gets nothing new, or it does again.
    pub fn drain(&self, draining: bool) {
        let mut books = self.books();
        if books.draining != draining {
            books.draining = draining;
            books.changed();
        }
    }

    /// The engine has come up just now: its weight grows from here.
    pub fn came_up(&self, now: Instant) {
        let mut books = self.books();
        books.up_since = Some(now);
        books.changed();
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
        let news = books.suspicion.failed(began, now);
        books.changed();
        news
    }

    /// The engine served. True when it was suspect before.
    pub fn served(&self) -> bool {
        let mut books = self.books();
        let news = books.suspicion.cleared();
        if news {
            books.changed();
        }
        news
    }
}

/// One session that counts on an engine although it is not there yet.
#[derive(Debug)]
#[must_use = "dropping it gives the reservation back"]
pub struct Reservation {
    tally: Arc<Tally>,
    expected: Expected,
}

impl Reservation {
    /// The session is on the engine: it counts until a probe has seen it.
    pub fn placed(self, now: Instant) {
        let mut books = self.tally.books();
        // `now` may have been read before another thread's: keep the order.
        let at = books.placed.back().map_or(now, |last| now.max(*last));
        books.placed.push_back(at);
        books.coming.placed(now, self.expected);
        // The handle's own count goes with its drop.
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut books = self.tally.books();
        books.pending = books.pending.saturating_sub(1);
        books.coming.end(&self.expected);
        books.changed();
    }
}

/// The right to try a suspect engine. Dropped without a verdict, the next trial is due at once.
#[derive(Debug)]
pub struct Trial(Arc<Tally>);

impl Drop for Trial {
    fn drop(&mut self) {
        let mut books = self.0.books();
        books.suspicion.abandon_trial();
        books.changed();
    }
}

#[cfg(test)]
mod tests;
