//! The engines of scopes, by the credential of the request. Bounded in entries, in bytes and in scopes of a credential;
//! the credential that was used least recently goes first. Times are milliseconds since 1970. An entry counts from when
//! its call was sent, so it is never used longer than the service allows.
//!
//! The caller has checked that the session of an answer has not ended, as it does for tokens.

use super::changes::{RETENTION_MS, RecentChanges};
use super::engine_route::EngineRoute;
use crate::auth::token_cache::{CacheKey, Settings};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// Maximum scopes of one credential.
pub const MAX_SCOPES: usize = 16;
/// Bytes of an entry besides its texts.
const ENTRY_BYTES: usize = 512;

struct Entry {
    route: Rc<EngineRoute>,
    sent_at: u64,
    expires_at: u64,
}

impl Entry {
    fn is_usable(&self, changes: &RecentChanges, now: u64) -> bool {
        let route = &self.route;
        (self.sent_at..self.expires_at).contains(&now)
            && !changes.is_outdated(&route.key, route.epoch)
            && !changes.is_closed_since(&route.pool, &route.engine, self.sent_at)
    }
}

#[derive(Default)]
struct Scopes {
    entries: Vec<Entry>,
    last_use: u64,
}

/// The known engines of one worker.
pub struct AffinityCache {
    settings: Settings,
    credentials: HashMap<CacheKey, Scopes>,
    /// By their last use.
    order: BTreeMap<u64, CacheKey>,
    uses: u64,
    entries: usize,
    bytes: usize,
    generation: u64,
    changes: RecentChanges,
}

impl AffinityCache {
    /// An empty cache.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            credentials: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            entries: 0,
            bytes: 0,
            generation: 0,
            changes: RecentChanges::default(),
        }
    }

    /// Grows with every [`Self::clear`]. The answer to a call of an earlier generation is not inserted: its key may
    /// have moved in between without an event.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The engine of a request. `host` is its authority in lower case, without port. Without `events_current`, none
    /// is known.
    pub fn find(
        &mut self,
        credential: &CacheKey,
        host: &str,
        path: &str,
        now: u64,
        events_current: bool,
    ) -> Option<Rc<EngineRoute>> {
        if !events_current {
            return None;
        }
        let changes = &self.changes;
        let scopes = self.credentials.get(credential)?;
        let covering = scopes
            .entries
            .iter()
            .filter(|entry| entry.route.covers(host, path) && entry.is_usable(changes, now));
        let best = covering.max_by(|one, other| one.route.compare_scope(&other.route))?;
        let route = Rc::clone(&best.route);
        self.mark_used(credential);
        Some(route)
    }

    /// Inserts the answer to a call that was sent at `sent_at` in `generation`, and that may be used for `valid_ms`
    /// from then on. False: the answer is outdated, and must not be used for its own request either.
    pub fn insert(
        &mut self,
        credential: CacheKey,
        route: &Rc<EngineRoute>,
        valid_ms: u64,
        sent_at: u64,
        generation: u64,
        now: u64,
    ) -> bool {
        self.changes.remove_expired(now);
        if self.changes.is_outdated(&route.key, route.epoch)
            || self
                .changes
                .is_closed_since(&route.pool, &route.engine, sent_at)
        {
            return false;
        }
        if generation != self.generation {
            return true;
        }
        if !self.changes.add_epoch(&route.key, route.epoch, now) {
            self.clear();
            return true;
        }
        let lifetime = valid_ms.min(self.settings.ttl_ms).min(RETENTION_MS);
        let entry = Entry {
            route: Rc::clone(route),
            sent_at,
            expires_at: sent_at.saturating_add(lifetime),
        };
        let fits = self.settings.entries > 0 && size(&entry) <= self.settings.bytes;
        if fits && entry.is_usable(&self.changes, now) {
            self.store(credential, entry, now);
        }
        true
    }

    fn store(&mut self, credential: CacheKey, entry: Entry, now: u64) {
        self.remove_where(&credential, |changes, other| {
            let same_scope = other.route.scope == entry.route.scope;
            let newer = other.route.key == entry.route.key
                && (other.route.epoch, other.route.as_of) > (entry.route.epoch, entry.route.as_of);
            !other.is_usable(changes, now) || same_scope && !newer
        });
        let scopes = self.credentials.get(&credential);
        let known = scopes.map_or(&[][..], |scopes| &scopes.entries);
        if known
            .iter()
            .any(|other| other.route.scope == entry.route.scope)
        {
            return;
        }
        let oldest = known.iter().map(|other| other.sent_at).min();
        if known.len() >= MAX_SCOPES {
            let mut removed = false;
            self.remove_where(&credential, |_, other| {
                let remove = !removed && Some(other.sent_at) == oldest;
                removed |= remove;
                remove
            });
        }
        let bytes = size(&entry);
        self.mark_used(&credential);
        while self.entries >= self.settings.entries
            || self.bytes.saturating_add(bytes) > self.settings.bytes
        {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            self.remove_where(&oldest, |_, _| true);
        }
        self.entries = self.entries.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        let scopes = self.credentials.entry(credential).or_default();
        scopes.entries.push(entry);
        self.mark_used(&credential);
    }

    /// A session has ended: removes its entries.
    pub fn remove_sessions(&mut self, session_refs: &[String]) {
        if session_refs.is_empty() || self.credentials.is_empty() {
            return;
        }
        let ended: HashSet<&str> = session_refs.iter().map(String::as_str).collect();
        let credentials: Vec<CacheKey> = self.credentials.keys().copied().collect();
        for credential in &credentials {
            self.remove_where(credential, |_, entry| {
                ended.contains(&*entry.route.session_ref)
            });
        }
    }

    /// A key has moved: what is known of a lower epoch is not used any more, and not accepted for a minute.
    pub fn key_moved(&mut self, key: &str, epoch: u64, now: u64) {
        if !self.changes.add_epoch(key, epoch, now) {
            self.clear();
        }
    }

    /// An engine takes no more requests: answers to calls that were sent until now are not used any more.
    pub fn engine_closed(&mut self, pool: String, engine: String, now: u64) {
        if !self.changes.add_closed(pool, engine, now) {
            self.clear();
        }
    }

    /// Removes every entry and starts a new generation: events may be missing.
    pub fn clear(&mut self) {
        self.credentials.clear();
        self.order.clear();
        (self.entries, self.bytes) = (0, 0);
        self.changes.clear();
        self.generation = self.generation.saturating_add(1);
    }

    /// Makes a credential the one that was used last, if it has entries.
    fn mark_used(&mut self, credential: &CacheKey) {
        if let Some(scopes) = self.credentials.get_mut(credential) {
            self.order.remove(&scopes.last_use);
            self.uses = self.uses.saturating_add(1);
            scopes.last_use = self.uses;
            self.order.insert(self.uses, *credential);
        }
    }

    fn remove_where(
        &mut self,
        credential: &CacheKey,
        mut remove: impl FnMut(&RecentChanges, &Entry) -> bool,
    ) {
        let Some(scopes) = self.credentials.get_mut(credential) else {
            return;
        };
        let removed = scopes
            .entries
            .extract_if(.., |entry| remove(&self.changes, entry));
        for entry in removed {
            self.entries = self.entries.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(size(&entry));
        }
        if scopes.entries.is_empty() {
            self.order.remove(&scopes.last_use);
            self.credentials.remove(credential);
        }
    }
}

fn size(entry: &Entry) -> usize {
    ENTRY_BYTES.saturating_add(entry.route.text_bytes())
}

#[cfg(test)]
mod tests;
