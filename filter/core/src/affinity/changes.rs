//! The recent changes of keys and engines that a worker knows: the greatest epoch of each key, and engines that were closed. An
//! answer that was on its way meanwhile may be older than that. Bounded in time and in number.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Milliseconds that a change is remembered: longer than any call may take and any entry is used.
pub(super) const RETENTION_MS: u64 = 60_000;
/// Maximum changes of each kind.
const MAX_CHANGES: usize = 20_000;

/// The changes.
#[derive(Debug, Default)]
pub(super) struct RecentChanges {
    /// The greatest epoch of each key.
    epochs: RecentMap<String>,
    /// When each engine, after its pool, was closed.
    closed: RecentMap<(String, String)>,
}

impl RecentChanges {
    /// A key has an epoch. False: there is no room to remember it.
    #[must_use]
    pub(super) fn add_epoch(&mut self, key: &str, epoch: u64, now: u64) -> bool {
        if self.is_outdated(key, epoch) {
            return true;
        }
        self.epochs.insert(key.to_owned(), epoch, now)
    }

    /// An engine takes no more requests. False: there is no room to remember it.
    #[must_use]
    pub(super) fn add_closed(&mut self, pool: String, engine: String, now: u64) -> bool {
        self.closed.insert((pool, engine), now, now)
    }

    /// Whether a key has a greater epoch.
    pub(super) fn is_outdated(&self, key: &str, epoch: u64) -> bool {
        let heard = self.epochs.values.get(key);
        heard.is_some_and(|(heard, _)| *heard > epoch)
    }

    /// Whether an engine was closed at a time, or after it.
    pub(super) fn is_closed_since(&self, pool: &str, engine: &str, time: u64) -> bool {
        if self.closed.values.is_empty() {
            return false;
        }
        let closed = self
            .closed
            .values
            .get(&(pool.to_owned(), engine.to_owned()));
        closed.is_some_and(|(closed_at, _)| *closed_at >= time)
    }

    /// Removes changes whose retention has passed.
    pub(super) fn remove_expired(&mut self, now: u64) {
        self.epochs.remove_expired(now);
        self.closed.remove_expired(now);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Values by their name, each for [`RETENTION_MS`] after it was set last.
#[derive(Debug)]
struct RecentMap<K> {
    /// The value, and when it was set.
    values: HashMap<K, (u64, u64)>,
    /// In the order in which they were set; a name that was set again is there again.
    order: VecDeque<(u64, K)>,
}

impl<K> Default for RecentMap<K> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> RecentMap<K> {
    fn insert(&mut self, name: K, value: u64, now: u64) -> bool {
        self.remove_expired(now);
        if self.order.len() >= MAX_CHANGES {
            return false;
        }
        let known = self.values.insert(name.clone(), (value, now));
        if known.is_none_or(|(_, set_at)| set_at != now) {
            self.order.push_back((now, name));
        }
        true
    }

    fn remove_expired(&mut self, now: u64) {
        while let Some((set_at, name)) = self.order.front() {
            if now < set_at.saturating_add(RETENTION_MS) {
                break;
            }
            if self
                .values
                .get(name)
                .is_some_and(|(_, last)| last == set_at)
            {
                self.values.remove(name);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_greatest_epoch_is_remembered_for_a_minute() {
        let mut changes = RecentChanges::default();
        assert!(changes.add_epoch("k", 3, 0));
        assert!(changes.add_epoch("k", 2, 10));
        assert!(changes.is_outdated("k", 2) && !changes.is_outdated("k", 3));
        assert!(!changes.is_outdated("other", 0));
        assert!(changes.add_epoch("k", 3, 30_000));
        changes.remove_expired(RETENTION_MS);
        assert!(changes.is_outdated("k", 2));
        changes.remove_expired(30_000 + RETENTION_MS);
        assert!(!changes.is_outdated("k", 2) && changes.epochs.order.is_empty());
    }

    #[test]
    fn a_closed_engine_outdates_what_was_asked_before() {
        let mut changes = RecentChanges::default();
        assert!(changes.add_closed("p".to_owned(), "e".to_owned(), 100));
        assert!(changes.is_closed_since("p", "e", 99) && changes.is_closed_since("p", "e", 100));
        assert!(!changes.is_closed_since("p", "e", 101) && !changes.is_closed_since("q", "e", 99));
    }

    #[test]
    fn the_number_is_bounded() {
        let mut changes = RecentChanges::default();
        for n in 0..MAX_CHANGES {
            assert!(changes.add_epoch(&n.to_string(), 1, 0));
        }
        assert!(!changes.add_epoch("k", 1, RETENTION_MS - 1));
        assert!(changes.add_epoch("k", 1, RETENTION_MS));
        assert_eq!(
            (changes.epochs.values.len(), changes.epochs.order.len()),
            (1, 1)
        );
    }
}
