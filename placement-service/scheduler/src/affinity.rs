//! Which engines hold which document: those that say so in their health, and those where one was placed
//! a moment ago. A second session on a document costs its engine next to nothing, the first one loads it.
//! Knows slots and names, nothing of load.

use super::EngineIndex;
use rand::{Rng, RngExt};
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
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

/// Most documents are held by so few engines that these are kept in the map itself: as many as take no more room
/// than where to find them elsewhere.
const FEW: usize = 4;
/// Engines looked at for one choice at the most.
const LOOKED_AT: usize = 16;

/// The engines that hold one document.
pub(super) struct Holding<'a> {
    holders: &'a Holders,
    document: DocumentKey,
    all: &'a [EngineIndex],
}

impl Holding<'_> {
    /// Whether this engine is one of them.
    pub(super) fn has(&self, slot: EngineIndex) -> bool {
        if self.all.len() <= LOOKED_AT {
            // They are at hand, its list is not.
            self.all.contains(&slot)
        } else {
            self.holders.holds(self.document, slot)
        }
    }

    /// All of a few; of many a row that begins anywhere, so that each is as likely to be looked at.
    pub(super) fn some(&self, random: &mut dyn Rng) -> impl Iterator<Item = EngineIndex> + use<'_> {
        let all = self.all;
        let first = if all.len() > LOOKED_AT {
            random.random_range(0..all.len())
        } else {
            0
        };
        let (before, from) = all.split_at(first);
        from.iter().chain(before).take(LOOKED_AT).copied()
    }
}

/// A map by a [`DocumentKey`], which no client can foresee: its hash needs no strength of its own.
type ByKey<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The engines of each document.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Makes hashes that no client can foresee.
    salt: u64,
    /// In no order, none of them twice.
    by_document: ByKey<DocumentKey, SmallVec<[EngineIndex; FEW]>>,
    /// What each slot's engine lists, in order.
    lists: Vec<Box<[DocumentKey]>>,
    /// Until when a placement counts; its engine does not list the document.
    placed: ByKey<(DocumentKey, EngineIndex), Instant>,
    /// When to look whether it still does.
    ends: BTreeSet<(Instant, DocumentKey, EngineIndex)>,
}

impl Holders {
    /// Knows nothing yet. `salt`: at random.
    pub(super) fn new(salt: u64) -> Self {
        Self {
            salt,
            ..Self::default()
        }
    }

    /// The key of a document's name.
    pub(super) fn key(&self, document: &str) -> DocumentKey {
        let mut hasher = DefaultHasher::new();
        (self.salt, document).hash(&mut hasher);
        DocumentKey(hasher.finish())
    }

    /// Whether the engine holds the document.
    pub(super) fn holds(&self, document: DocumentKey, slot: EngineIndex) -> bool {
        self.lists(document, slot) || self.placed.contains_key(&(document, slot))
    }

    fn lists(&self, document: DocumentKey, slot: EngineIndex) -> bool {
        let list = self.lists.get(slot as usize);
        list.is_some_and(|list| list.binary_search(&document).is_ok())
    }

    /// Those that hold the document.
    pub(super) fn of(&self, document: DocumentKey) -> Holding<'_> {
        let all = self.by_document.get(&document);
        Holding {
            holders: self,
            document,
            all: all.map_or(&[][..], |all| all),
        }
    }

    /// An engine has told its documents.
    pub(super) fn list(&mut self, slot: EngineIndex, documents: &[String]) {
        let mut list: Vec<_> = documents.iter().map(|name| self.key(name)).collect();
        list.sort_unstable();
        list.dedup();
        let list = list.into_boxed_slice();
        let Some(place) = self.lists.get_mut(slot as usize) else {
            return;
        };
        let before = std::mem::replace(place, list.clone());
        let missing = |of: &[DocumentKey], key: &DocumentKey| of.binary_search(key).is_err();
        for gone in before.iter().filter(|key| missing(&list, key)) {
            self.unlink(*gone, slot);
        }
        for new in list.iter().filter(|key| missing(&before, key)) {
            // From now on the list tells.
            if self.placed.remove(&(*new, slot)).is_none() {
                self.link(*new, slot);
            }
        }
    }

    /// A session on the document was placed there. `held`: as [`Self::holds`] has it.
    pub(super) fn placed(&mut self, document: DocumentKey, slot: EngineIndex, held: bool, now: Instant) {
        let until = now + UNLISTED;
        if let Some(before) = self.placed.get_mut(&(document, slot)) {
            *before = until;
        } else if !held && self.placed.len() < MOST_UNLISTED {
            self.placed.insert((document, slot), until);
            self.ends.insert((until, document, slot));
            self.link(document, slot);
        }
    }

    /// Forgets placements that have had the time to show in a list.
    pub(super) fn forget(&mut self, now: Instant) {
        while self.ends.first().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, document, slot)) = self.ends.pop_first()
        {
            match self.placed.get(&(document, slot)).copied() {
                // Placed again since.
                Some(until) if until > now => {
                    self.ends.insert((until, document, slot));
                }
                Some(_) => {
                    self.placed.remove(&(document, slot));
                    self.unlink(document, slot);
                }
                // Listed since.
                None => {}
            }
        }
    }

    /// The pool has other engines: `moved` tells where each slot went. Lists are to be told again.
    pub(super) fn renumber(&mut self, slots: usize, moved: impl Fn(EngineIndex) -> Option<EngineIndex>) {
        self.lists = vec![Box::default(); slots];
        self.by_document.clear();
        self.ends.clear();
        for ((document, slot), until) in std::mem::take(&mut self.placed) {
            if let Some(slot) = moved(slot) {
                self.placed.insert((document, slot), until);
                self.ends.insert((until, document, slot));
                self.link(document, slot);
            }
        }
    }

    /// The slot begins to hold the document: it is neither listed nor placed there.
    fn link(&mut self, document: DocumentKey, slot: EngineIndex) {
        self.by_document.entry(document).or_default().push(slot);
    }

    fn unlink(&mut self, document: DocumentKey, slot: EngineIndex) {
        let Some(all) = self.by_document.get_mut(&document) else {
            return;
        };
        if let Some(place) = all.iter().position(|other| *other == slot) {
            all.remove(place);
        }
        if all.is_empty() {
            self.by_document.remove(&document);
        }
    }
}

#[cfg(test)]
mod tests;
