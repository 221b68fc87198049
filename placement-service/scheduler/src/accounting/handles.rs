//! What is held while a placement is under way, and given back when it is dropped: the session that counts already,
//! and the right to try a suspect engine.

use super::Tally;
use super::pending_cost::Expected;
use super::state::Stream;
use super::stream_counts::StreamSlot;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tokio::time::Instant;

/// One session that counts on an engine although it is not there yet.
#[derive(Debug)]
#[must_use = "dropping it gives the reservation back"]
pub struct Reservation {
    pub(super) tally: Arc<Tally>,
    pub(super) expected: Expected,
    pub(super) slot: Option<StreamSlot>,
    /// As the ledger knows it.
    pub(super) stream: Option<Arc<str>>,
    /// It counts under its stream's name.
    pub(super) placed: bool,
}

impl Reservation {
    /// The stream counts for its session as long as it counts on the engine.
    pub fn hold(&mut self, slot: StreamSlot) {
        self.slot = Some(slot);
    }

    /// The session is on the engine; `stream` is what gateways will call it.
    pub fn placed(mut self, stream: &str, now: Instant) {
        // The ledger has it until the books say otherwise.
        let known = self.stream.take().filter(|known| **known == *stream);
        let name = known.unwrap_or_else(|| stream.into());
        let mut books = self.tally.books();
        let all = &mut *books;
        // Names are random: if one comes twice all the same, it counts once.
        let Entry::Vacant(entry) = all.streams.entry(Arc::clone(&name)) else {
            return;
        };
        all.coming.placed(&self.expected);
        entry.insert(Stream {
            since: now,
            waiting: all.waiting.push((now, name)),
            unseen: all.unseen.push((now, self.expected)),
            _slot: self.slot.take(),
        });
        // Nothing has changed for a choice: it counts as it did.
        all.give_back(&self.expected);
        drop(books);
        self.placed = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        let mut books = self.tally.books();
        if let (Some(account), Some(stream)) = (&self.tally.account, &self.stream) {
            account.released(stream);
        }
        books.give_back(&self.expected);
    }
}

/// The right to try a suspect engine. Dropped without a verdict, the next trial is due at once.
#[derive(Debug)]
pub struct Trial(pub(super) Arc<Tally>);

impl Drop for Trial {
    fn drop(&mut self) {
        let mut books = self.0.books();
        books.suspicion.abandon_trial();
    }
}
