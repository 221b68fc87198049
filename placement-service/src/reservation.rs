//! The books of one engine: sessions placed, counted from the moment of the choice, and streams that
//! gateways have reported open. A reservation is an RAII handle while the placement is under way and an
//! entry under the stream's name afterwards: it becomes an open stream when a gateway reports it, lapses
//! when none does, and ends with the stream. What the last probe has seen is told from what it has not,
//! so that nothing counts twice. Knows nothing of strategies, drivers or gateways; time is an argument.

mod changes;
mod coming;
mod stream_id;
mod tallies;

use crate::cost::{Cost, Kind};
use crate::engine::Load;
use crate::suspicion::{Suspicion, Trust};
use changes::Listener;
use coming::{Coming, Expected};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

pub use changes::Changes;
pub use stream_id::StreamId;
pub use tallies::Tallies;

/// How long a new session may take to show in an engine's numbers: its client has yet to connect.
const SETTLE: Duration = Duration::from_millis(500);

/// The books of one engine, shared by all snapshots of it.
#[derive(Debug)]
pub struct Tally {
    ttl: Duration,
    books: Mutex<Books>,
}

/// Streams in the order of their time.
type ByTime = BTreeSet<(Instant, StreamId)>;

#[derive(Debug, Default)]
struct Books {
    /// Handles alive: placements under way.
    pending: u32,
    streams: HashMap<StreamId, Stream>,
    /// Those that no gateway has reported yet.
    waiting: ByTime,
    /// Those that the last probe cannot have seen.
    unseen: ByTime,
    /// When those closed that the last probe has seen.
    left: Vec<Instant>,
    /// Sessions that the last probe saw.
    probed: u32,
    /// When it began.
    probed_at: Option<Instant>,
    /// The turn in which round-robin last chose this engine.
    turn: u64,
    suspicion: Suspicion,
    listener: Option<Listener>,
    coming: Coming,
}

/// A session that was placed here, or whose stream was reported here.
#[derive(Clone, Copy, Debug)]
struct Stream {
    /// Since when it counts.
    since: Instant,
    /// What it is going to cost, as it was noted when it was placed.
    coming: Option<(Instant, Expected)>,
}

impl Books {
    /// Placements whose clients have not come in time count no more.
    fn lapse(&mut self, ttl: Duration, now: Instant) {
        while self.waiting.first().is_some_and(|(at, _)| *at + ttl <= now)
            && let Some(entry) = self.waiting.pop_first()
        {
            self.streams.remove(&entry.1);
            self.unseen.remove(&entry);
        }
        self.coming.lapse(ttl, now);
    }

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
    /// Placements under way, and streams that the last probe cannot have seen.
    pub reserved: u32,
    /// Streams that the last probe has seen and that have closed since.
    pub left: u32,
    /// Placements under way, streams that are open, and those that no gateway has reported yet.
    pub own: u32,
    /// Streams that are open.
    pub open: u32,
    /// The turn in which round-robin last chose this engine.
    pub turn: u64,
    /// Whether it may be used.
    pub trust: Trust,
    /// What the sessions that no probe has seen are going to take.
    pub coming: Cost,
    /// The CPU in use, smoothed over the last probes, 0 to 1.
    pub cpu: Option<f64>,
}

impl Standing {
    /// Sessions on the engine now: what the last probe saw and has changed since, or our own count when
    /// probes tell nothing of sessions.
    #[must_use]
    pub const fn sessions(&self, probed: Option<u32>) -> u32 {
        match probed {
            Some(probed) => probed
                .saturating_sub(self.left)
                .saturating_add(self.reserved),
            None => self.own,
        }
    }
}

impl Tally {
    /// Empty books. A placement that no gateway reports open counts for `ttl` at the most.
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
        books.lapse(self.ttl, now);
        if let Some(listener) = &mut books.listener {
            listener.looked();
        }
        Standing {
            reserved: books.pending.saturating_add(count(books.unseen.len())),
            left: count(books.left.len()),
            own: books.pending.saturating_add(count(books.streams.len())),
            open: count(books.streams.len() - books.waiting.len()),
            turn: books.turn,
            trust: books.suspicion.trust(now),
            coming: books.coming.cost(),
            cpu: books.coming.cpu(),
        }
    }

    /// Placements that neither a probe nor a gateway has confirmed.
    #[must_use]
    pub fn unconfirmed(&self, now: Instant) -> u32 {
        let mut books = self.books();
        books.lapse(self.ttl, now);
        let waiting = books.waiting.intersection(&books.unseen).count();
        books.pending.saturating_add(count(waiting))
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

    /// A gateway has reported the stream open, which it is since `since`.
    pub fn opened(&self, stream: StreamId, since: Instant) {
        let mut books = self.books();
        if let Some(known) = books.streams.get(&stream) {
            let entry = (known.since, stream);
            books.waiting.remove(&entry);
            return;
        }
        // Placed by another process, or longer ago than a reservation counts.
        if books.probed_at.is_none_or(|began| since + SETTLE > began) {
            books.unseen.insert((since, stream));
        }
        let coming = None;
        books.streams.insert(stream, Stream { since, coming });
        books.changed();
    }

    /// The stream is closed, or never came to be. Closing it again changes nothing.
    pub fn closed(&self, stream: StreamId, now: Instant) {
        let mut books = self.books();
        let Some(Stream { since, coming }) = books.streams.remove(&stream) else {
            return;
        };
        books.waiting.remove(&(since, stream));
        if !books.unseen.remove(&(since, stream)) {
            books.left.push(now);
        }
        if let Some((at, expected)) = coming {
            books.coming.closed(at, expected);
        }
        books.changed();
    }

    /// Nothing is under way, waited for or open.
    #[must_use]
    fn is_empty(&self) -> bool {
        let books = self.books();
        books.pending == 0 && books.streams.is_empty()
    }

    /// A probe that began at `began` saw so many sessions. Placements made well before are among
    /// them. Of those made just before, as many as the growth shows.
    pub fn probed(&self, began: Instant, sessions: u32) {
        let mut books = self.books();
        let before = books.unseen.len();
        while books
            .unseen
            .first()
            .is_some_and(|(at, _)| *at + SETTLE <= began)
        {
            books.unseen.pop_first();
        }
        let settled = count(before - books.unseen.len());
        let closed = books.left.len();
        books.left.retain(|at| *at > began);
        let closed = count(closed - books.left.len());
        let known = books.probed.saturating_sub(closed).saturating_add(settled);
        for _ in 0..sessions.saturating_sub(known) {
            match books.unseen.first() {
                Some((at, _)) if *at <= began => drop(books.unseen.pop_first()),
                _ => break,
            }
        }
        books.probed_at = Some(began);
        books.probed = sessions;
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

fn count(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}

/// One session that counts on an engine although it is not there yet.
#[derive(Debug)]
#[must_use = "dropping it gives the reservation back"]
pub struct Reservation {
    tally: Arc<Tally>,
    expected: Expected,
}

impl Reservation {
    /// The session is on the engine; `stream` is what gateways will call it.
    pub fn placed(self, stream: StreamId, now: Instant) {
        let mut books = self.tally.books();
        // Names are random: if one comes twice all the same, it counts once.
        if books.streams.contains_key(&stream) {
            return;
        }
        books.waiting.insert((now, stream));
        books.unseen.insert((now, stream));
        let noted = books.coming.placed(now, self.expected);
        let coming = Some((noted, self.expected));
        books.streams.insert(stream, Stream { since: now, coming });
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
