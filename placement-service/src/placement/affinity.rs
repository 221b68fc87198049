//! Which engines hold which document: those that say so in their health, and those where one was placed
//! a moment ago. A second session on a document costs its engine next to nothing, the first one loads it.
//! Knows slots and names, nothing of load.

use super::Slot;
use rand::{Rng, RngExt};
use std::collections::BTreeSet;
use std::collections::hash_map::{Entry, HashMap, RandomState};
use std::hash::BuildHasher;
use std::time::Duration;
use tokio::time::Instant;

/// How long a placement alone tells that its engine holds the document: long enough to load it and to be
/// probed after that.
const UNLISTED: Duration = Duration::from_secs(60);
/// Placements remembered at the most: clients name documents, and may make names up.
const MOST_UNLISTED: usize = 65_536;

/// A document's name, hashed with a key of our own. Two names with one hash would share their engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DocumentKey(u64);

impl DocumentKey {
    pub(super) const fn number(self) -> u64 {
        self.0
    }
}

/// The engines of each document.
#[derive(Debug, Default)]
pub(super) struct Holders {
    hasher: RandomState,
    /// In the order of the slots.
    by_document: HashMap<DocumentKey, Vec<Holding>>,
    /// What each slot's engine lists, in order.
    lists: Vec<Box<[DocumentKey]>>,
    /// When to look whether a placement still counts.
    unlisted: BTreeSet<(Instant, DocumentKey, Slot)>,
}

#[derive(Clone, Copy, Debug)]
struct Holding {
    slot: Slot,
    listed: bool,
    /// A placement counts until then.
    placed: Option<Instant>,
}

impl Holders {
    /// Engines looked at for one choice; of more, so many at random.
    pub(super) const LOOKED_AT: usize = 16;

    /// The key of a document's name.
    pub(super) fn key(&self, document: &str) -> DocumentKey {
        DocumentKey(self.hasher.hash_one(document))
    }

    /// Whether the engine holds the document.
    pub(super) fn holds(&self, document: DocumentKey, slot: Slot) -> bool {
        self.by_document
            .get(&document)
            .is_some_and(|all| all.binary_search_by_key(&slot, |h| h.slot).is_ok())
    }

    /// Engines that hold the document: all of a few, a few at random of many.
    pub(super) fn some(
        &self,
        document: DocumentKey,
        random: &mut dyn Rng,
    ) -> [Option<Slot>; Self::LOOKED_AT] {
        let all = self.by_document.get(&document).map_or(&[][..], |all| all);
        let draw = all.len() > Self::LOOKED_AT;
        std::array::from_fn(|place| {
            let place = if draw {
                random.random_range(0..all.len())
            } else {
                place
            };
            all.get(place).map(|holding| holding.slot)
        })
    }

    /// An engine has told its documents.
    pub(super) fn list(&mut self, slot: Slot, documents: &[String]) {
        let documents: BTreeSet<_> = documents.iter().map(|name| self.key(name)).collect();
        let Some(list) = self.lists.get_mut(slot as usize) else {
            return;
        };
        let before = std::mem::replace(list, documents.iter().copied().collect());
        for gone in before.iter().filter(|key| !documents.contains(key)) {
            self.change(*gone, slot, |holding| holding.listed = false);
        }
        for key in documents {
            if before.binary_search(&key).is_err() {
                self.change(key, slot, |holding| holding.listed = true);
            }
        }
    }

    /// A session on the document was placed there.
    pub(super) fn placed(&mut self, document: DocumentKey, slot: Slot, now: Instant) {
        let full = self.unlisted.len() >= MOST_UNLISTED;
        let mut news = false;
        self.change(document, slot, |holding| {
            news = holding.placed.is_none();
            if !(news && full) {
                holding.placed = Some(now + UNLISTED);
            }
        });
        if news && !full {
            self.unlisted.insert((now + UNLISTED, document, slot));
        }
    }

    /// Forgets placements that have had the time to show in a list.
    pub(super) fn forget(&mut self, now: Instant) {
        while let Some((at, document, slot)) = self.unlisted.first().copied() {
            if at > now {
                return;
            }
            self.unlisted.pop_first();
            let mut again = None;
            self.change(document, slot, |holding| {
                holding.placed = holding.placed.filter(|until| *until > now);
                again = holding.placed;
            });
            if let Some(until) = again {
                self.unlisted.insert((until, document, slot));
            }
        }
    }

    /// The pool has other engines: `moved` tells where each slot went. Lists are to be told again.
    pub(super) fn renumber(&mut self, slots: usize, moved: impl Fn(Slot) -> Option<Slot>) {
        self.lists = vec![Box::default(); slots];
        self.by_document.retain(|_, all| {
            all.retain_mut(|holding| {
                let Some(slot) = moved(holding.slot).filter(|_| holding.placed.is_some()) else {
                    return false;
                };
                holding.slot = slot;
                holding.listed = false;
                true
            });
            all.sort_unstable_by_key(|holding| holding.slot);
            !all.is_empty()
        });
        let unlisted = std::mem::take(&mut self.unlisted).into_iter();
        self.unlisted = unlisted
            .filter_map(|(at, document, slot)| Some((at, document, moved(slot)?)))
            .collect();
    }

    /// Changes one holding, made when there is none, removed when nothing tells of it any more.
    fn change(&mut self, document: DocumentKey, slot: Slot, change: impl FnOnce(&mut Holding)) {
        let mut entry = match self.by_document.entry(document) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert_entry(Vec::new()),
        };
        let all = entry.get_mut();
        let place = match all.binary_search_by_key(&slot, |holding| holding.slot) {
            Ok(place) => place,
            Err(place) => {
                let none = Holding {
                    slot,
                    listed: false,
                    placed: None,
                };
                all.insert(place, none);
                place
            }
        };
        let Some(holding) = all.get_mut(place) else {
            return;
        };
        change(holding);
        if !holding.listed && holding.placed.is_none() {
            all.remove(place);
            if all.is_empty() {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
