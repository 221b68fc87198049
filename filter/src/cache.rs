//! The tokens of sessions that a worker has asked for lately, so that most requests ask for nothing. Holds the
//! hash of what a request has brought along, never the cookie. Bounded in entries and in bytes; what was used
//! longest ago goes first. Knows no host; times are milliseconds since 1970. Whether the feed of events is fresh enough for
//! an entry to be used at all is told by the caller (S36).

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

/// Bytes that an entry takes besides its texts: its key twice, its place in the order, the maps' own room.
const ENTRY_BYTES: usize = 256;

/// A session's name in the cache: SHA-256 of its cookie's value, or of the token that a program has of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The name of the session with this cookie value.
    #[must_use]
    pub fn of(cookie: &str) -> Self {
        Self(Sha256::digest(cookie).into())
    }

    /// The name of the session with this token. No cookie has a blank, so none has this name.
    #[must_use]
    pub fn of_token(token: &str) -> Self {
        let hash = Sha256::new_with_prefix("Bearer ").chain_update(token);
        Self(hash.finalize().into())
    }
}

/// Even a hash of a cookie is none of a log's business.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What a session's requests are let through with.
#[derive(PartialEq, Eq)]
pub struct Grant {
    /// `Bearer` and the JWT, which has been verified.
    pub authorization: Vec<u8>,
    /// Names the session in logs, reports and events.
    pub session_ref: String,
    /// Unix seconds: the end of the JWT or of the session, whichever comes first.
    pub until: u64,
}

/// A JWT is none of a log's business either.
impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("session_ref", &self.session_ref)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Entries of a worker at the most; 0 switches the cache off.
    pub entries: usize,
    /// Bytes of a worker's entries at the most.
    pub bytes: usize,
    /// Milliseconds that an entry is used at the most.
    pub ttl_ms: u64,
}

struct Entry {
    grant: Rc<Grant>,
    until_ms: u64,
    used: u64,
}

/// The cached tokens of one worker.
pub struct Cache {
    settings: Settings,
    entries: HashMap<Key, Entry>,
    /// By their last use.
    order: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
    epoch: u64,
}

impl Cache {
    /// An empty one.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            bytes: 0,
            epoch: 0,
        }
    }

    /// Changes whenever everything has been forgotten. What was asked for in an earlier epoch is not kept:
    /// the session may have ended in between, unheard.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The grant of this session, if it may still be used. Without a fresh feed none may.
    pub fn find(&mut self, key: &Key, now: u64, fresh: bool) -> Option<Rc<Grant>> {
        if !fresh {
            return None;
        }
        let entry = self.entries.get_mut(key)?;
        if now >= entry.until_ms {
            self.remove(key);
            return None;
        }
        self.order.remove(&entry.used);
        self.uses = self.uses.saturating_add(1);
        entry.used = self.uses;
        self.order.insert(entry.used, *key);
        Some(Rc::clone(&entry.grant))
    }

    /// A session's grant has come; it was asked for in `epoch`.
    pub fn insert(&mut self, key: Key, grant: &Rc<Grant>, epoch: u64, now: u64) {
        self.remove(&key);
        let size = size(grant);
        let until_ms = grant
            .until
            .saturating_mul(1000)
            .min(now.saturating_add(self.settings.ttl_ms));
        let fits = self.settings.entries > 0 && size <= self.settings.bytes;
        if epoch != self.epoch || now >= until_ms || !fits {
            return;
        }
        while self.entries.len() >= self.settings.entries
            || self.bytes.saturating_add(size) > self.settings.bytes
        {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            self.remove(&oldest);
        }
        self.uses = self.uses.saturating_add(1);
        self.order.insert(self.uses, key);
        self.bytes = self.bytes.saturating_add(size);
        let entry = Entry {
            grant: Rc::clone(grant),
            until_ms,
            used: self.uses,
        };
        self.entries.insert(key, entry);
    }

    /// These sessions are over.
    pub fn forget(&mut self, session_refs: &[String]) {
        if session_refs.is_empty() || self.entries.is_empty() {
            return;
        }
        let gone: HashSet<&str> = session_refs.iter().map(String::as_str).collect();
        let keys: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| gone.contains(entry.grant.session_ref.as_str()))
            .map(|(key, _)| *key)
            .collect();
        for key in &keys {
            self.remove(key);
        }
    }

    /// Nothing of what has been cached can be relied on any more.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.bytes = 0;
        self.epoch = self.epoch.saturating_add(1);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.used);
            self.bytes = self.bytes.saturating_sub(size(&entry.grant));
        }
    }
}

const fn size(grant: &Grant) -> usize {
    ENTRY_BYTES
        .saturating_add(grant.authorization.len())
        .saturating_add(grant.session_ref.len())
}

#[cfg(test)]
mod tests;
