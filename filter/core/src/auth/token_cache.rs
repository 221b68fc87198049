//! The tokens of sessions that a worker has fetched, so that most requests need no call. A key is the hash of the
//! credential, never the cookie itself. Bounded in entries and in bytes; the least recently used entry goes first.
//! Knows no host; times are milliseconds since 1970. The caller decides whether events are fresh enough to use an
//! entry at all.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

/// Bytes of an entry besides its texts: its key twice, its place in the order, the overhead of the maps.
const ENTRY_BYTES: usize = 256;

/// The name of a session in the cache: SHA-256 of its cookie's value, or of a bearer token that belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// The key of the session with this cookie value.
    #[must_use]
    pub fn from_cookie(cookie: &str) -> Self {
        Self(Sha256::digest(cookie).into())
    }

    /// The key of the session with this token. A cookie value has no blank, so no cookie has this key.
    #[must_use]
    pub fn from_token(token: &str) -> Self {
        let hash = Sha256::new_with_prefix("Bearer ").chain_update(token);
        Self(hash.finalize().into())
    }

    /// The key of this credential's requests to one route of one host: requests with this key may wait for one call.
    #[must_use]
    pub fn for_route(&self, host: &str, route: usize) -> Self {
        let hash = Sha256::new_with_prefix(self.0).chain_update(route.to_be_bytes());
        Self(hash.chain_update(host).finalize().into())
    }
}

/// Not printed: the hash of a cookie identifies a session.
impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey(..)")
    }
}

/// A verified JWT and its session.
#[derive(PartialEq, Eq)]
pub struct CachedToken {
    /// `Bearer` and the JWT.
    pub authorization: Vec<u8>,
    /// The session in logs, reports and events.
    pub session_ref: String,
    /// Unix seconds: when the JWT or the session expires, whichever is first.
    pub expires_at: u64,
    /// The roles of the session.
    pub roles: Rc<[String]>,
}

/// Without the JWT, which is a secret.
impl fmt::Debug for CachedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedToken")
            .field("session_ref", &self.session_ref)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Maximum entries of a worker; 0 disables the cache.
    pub entries: usize,
    /// Maximum bytes of a worker's entries.
    pub bytes: usize,
    /// Maximum milliseconds that an entry is used.
    pub ttl_ms: u64,
}

struct Entry {
    token: Rc<CachedToken>,
    expires_at_ms: u64,
    last_use: u64,
}

/// The cached tokens of one worker.
pub struct TokenCache {
    settings: Settings,
    entries: HashMap<CacheKey, Entry>,
    /// By their last use.
    order: BTreeMap<u64, CacheKey>,
    uses: u64,
    bytes: usize,
    epoch: u64,
}

impl TokenCache {
    /// An empty cache.
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

    /// Grows with every [`Self::clear`]. A token that was requested in an earlier epoch is not inserted: its session
    /// may have ended in between without an event.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The token of this session, if it is still usable. Without `events_current`, no token is.
    pub fn find(
        &mut self,
        key: &CacheKey,
        now: u64,
        events_current: bool,
    ) -> Option<Rc<CachedToken>> {
        if !events_current {
            return None;
        }
        let entry = self.entries.get_mut(key)?;
        if now >= entry.expires_at_ms {
            self.remove(key);
            return None;
        }
        self.order.remove(&entry.last_use);
        self.uses = self.uses.saturating_add(1);
        entry.last_use = self.uses;
        self.order.insert(entry.last_use, *key);
        Some(Rc::clone(&entry.token))
    }

    /// Inserts a token that was requested in `epoch`.
    pub fn insert(&mut self, key: CacheKey, token: &Rc<CachedToken>, epoch: u64, now: u64) {
        self.remove(&key);
        let size = size(token);
        let expires_at_ms = token
            .expires_at
            .saturating_mul(1000)
            .min(now.saturating_add(self.settings.ttl_ms));
        let fits = self.settings.entries > 0 && size <= self.settings.bytes;
        if epoch != self.epoch || now >= expires_at_ms || !fits {
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
            token: Rc::clone(token),
            expires_at_ms,
            last_use: self.uses,
        };
        self.entries.insert(key, entry);
    }

    /// Removes the tokens of ended sessions.
    pub fn remove_sessions(&mut self, session_refs: &[String]) {
        if session_refs.is_empty() || self.entries.is_empty() {
            return;
        }
        let ended_refs: HashSet<&str> = session_refs.iter().map(String::as_str).collect();
        let keys: Vec<CacheKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| ended_refs.contains(entry.token.session_ref.as_str()))
            .map(|(key, _)| *key)
            .collect();
        for key in &keys {
            self.remove(key);
        }
    }

    /// Removes every token and starts a new epoch.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.bytes = 0;
        self.epoch = self.epoch.saturating_add(1);
    }

    fn remove(&mut self, key: &CacheKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.last_use);
            self.bytes = self.bytes.saturating_sub(size(&entry.token));
        }
    }
}

fn size(token: &CachedToken) -> usize {
    let roles = token.roles.iter().map(String::len).sum();
    ENTRY_BYTES
        .saturating_add(token.authorization.len())
        .saturating_add(token.session_ref.len())
        .saturating_add(roles)
}

#[cfg(test)]
mod tests;
