//! Which engines hold which document in memory: those that list it in their health check, and those where a session on it
//! was placed a short time ago. The first session on a document loads it; a second one costs its engine little. Knows
//! positions and names of engines, not their load.

use super::EngineIndex;
use rand::{Rng, RngExt};
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::time::Instant;

/// After a placement its engine counts as a holder for this long without listing the document: long enough to load the
/// document and to be probed afterwards.
const PLACEMENT_TTL: Duration = Duration::from_secs(60);
/// Maximum number of remembered placements: clients choose the names of documents.
const MAX_PLACEMENTS: usize = 65_536;

/// A document's name, hashed with a secret salt. Two names with the same hash would share their engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DocumentKey(u64);

impl DocumentKey {
    pub(super) const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Most documents have few holders, which are stored in the map itself: as many as need no more space than a pointer to
/// a list.
const INLINE_HOLDERS: usize = 4;
/// Maximum number of holders that one decision considers.
const SAMPLE_SIZE: usize = 16;

/// The engines that hold one document.
pub(super) struct DocumentHolders<'a> {
    holders: &'a Holders,
    document: DocumentKey,
    all: &'a [EngineIndex],
}

impl DocumentHolders<'_> {
    /// Whether this engine is among them.
    pub(super) fn contains(&self, index: EngineIndex) -> bool {
        if self.all.len() <= SAMPLE_SIZE {
            // These are in the cache, the engine's list is not.
            self.all.contains(&index)
        } else {
            self.holders.holds(self.document, index)
        }
    }

    /// All holders, or [`SAMPLE_SIZE`] of them from a random position on, so that each has the same probability.
    pub(super) fn sample(
        &self,
        random: &mut dyn Rng,
    ) -> impl Iterator<Item = EngineIndex> + use<'_> {
        let holders = self.all;
        let first = if holders.len() > SAMPLE_SIZE {
            random.random_range(0..holders.len())
        } else {
            0
        };
        let (head, tail) = holders.split_at(first);
        tail.iter().chain(head).take(SAMPLE_SIZE).copied()
    }
}

/// A map by [`DocumentKey`]. No client can predict a key, so a fast hash is enough.
type ByKey<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The holders of each document.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Makes keys that no client can predict.
    salt: u64,
    /// In no order, each once.
    by_document: ByKey<DocumentKey, SmallVec<[EngineIndex; INLINE_HOLDERS]>>,
    /// The documents that each engine lists, sorted.
    lists: Vec<Box<[DocumentKey]>>,
    /// Until when a placement counts. Its engine does not list the document.
    placed: ByKey<(DocumentKey, EngineIndex), Instant>,
    /// The placements by the time at which they may end.
    ends: BTreeSet<(Instant, DocumentKey, EngineIndex)>,
}

impl Holders {
    /// No document yet. `salt`: a random number.
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
    pub(super) fn holds(&self, document: DocumentKey, index: EngineIndex) -> bool {
        self.is_listed(document, index) || self.placed.contains_key(&(document, index))
    }

    fn is_listed(&self, document: DocumentKey, index: EngineIndex) -> bool {
        let list = self.lists.get(index as usize);
        list.is_some_and(|list| list.binary_search(&document).is_ok())
    }

    /// The holders of the document.
    pub(super) fn get(&self, document: DocumentKey) -> DocumentHolders<'_> {
        let holders = self.by_document.get(&document);
        DocumentHolders {
            holders: self,
            document,
            all: holders.map_or(&[][..], |holders| holders),
        }
    }

    /// Replaces the list of an engine by the one of its latest probe.
    pub(super) fn set_list(&mut self, index: EngineIndex, documents: &[String]) {
        let mut list: Vec<_> = documents.iter().map(|name| self.key(name)).collect();
        list.sort_unstable();
        list.dedup();
        let list = list.into_boxed_slice();
        let Some(slot) = self.lists.get_mut(index as usize) else {
            return;
        };
        let previous = std::mem::replace(slot, list.clone());
        let missing = |keys: &[DocumentKey], key: &DocumentKey| keys.binary_search(key).is_err();
        for removed in previous.iter().filter(|key| missing(&list, key)) {
            self.unlink(*removed, index);
        }
        for added in list.iter().filter(|key| missing(&previous, key)) {
            // The list replaces the placement.
            if self.placed.remove(&(*added, index)).is_none() {
                self.link(*added, index);
            }
        }
    }

    /// A session on the document was placed on the engine. `was_held`: the result of [`Self::holds`] before that.
    pub(super) fn record_placement(
        &mut self,
        document: DocumentKey,
        index: EngineIndex,
        was_held: bool,
        now: Instant,
    ) {
        let expiry = now + PLACEMENT_TTL;
        if let Some(current_expiry) = self.placed.get_mut(&(document, index)) {
            *current_expiry = expiry;
        } else if !was_held && self.placed.len() < MAX_PLACEMENTS {
            self.placed.insert((document, index), expiry);
            self.ends.insert((expiry, document, index));
            self.link(document, index);
        }
    }

    /// Removes placements that are older than [`PLACEMENT_TTL`].
    pub(super) fn expire(&mut self, now: Instant) {
        while self
            .ends
            .first()
            .is_some_and(|(ends_at, ..)| *ends_at <= now)
            && let Some((_, document, index)) = self.ends.pop_first()
        {
            match self.placed.get(&(document, index)).copied() {
                // Placed again since.
                Some(expiry) if expiry > now => {
                    self.ends.insert((expiry, document, index));
                }
                Some(_) => {
                    self.placed.remove(&(document, index));
                    self.unlink(document, index);
                }
                // Listed since.
                None => {}
            }
        }
    }

    /// The pool has other engines: `new_index` maps the old position of an engine to the new one. All lists must be set again.
    pub(super) fn renumber(
        &mut self,
        engines: usize,
        new_index: impl Fn(EngineIndex) -> Option<EngineIndex>,
    ) {
        self.lists = vec![Box::default(); engines];
        self.by_document.clear();
        self.ends.clear();
        for ((document, index), expiry) in std::mem::take(&mut self.placed) {
            if let Some(index) = new_index(index) {
                self.placed.insert((document, index), expiry);
                self.ends.insert((expiry, document, index));
                self.link(document, index);
            }
        }
    }

    /// Adds a holder that was none before.
    fn link(&mut self, document: DocumentKey, index: EngineIndex) {
        self.by_document.entry(document).or_default().push(index);
    }

    fn unlink(&mut self, document: DocumentKey, index: EngineIndex) {
        let Some(holders) = self.by_document.get_mut(&document) else {
            return;
        };
        if let Some(position) = holders.iter().position(|other| *other == index) {
            holders.remove(position);
        }
        if holders.is_empty() {
            self.by_document.remove(&document);
        }
    }
}

#[cfg(test)]
mod tests;
