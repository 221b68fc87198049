//! The event log, leases and keys of one process, for deployments whose sessions live in another system's
//! store. Lost when the process ends and not shared with other replicas; only server keys derived from a common
//! seed are the same on all replicas.

use crate::{Bounds, Coordination, DeadLetter, Event, EventLog, StoreError};
use async_trait::async_trait;
use hmac::{Hmac, Mac};
use parking_lot::{Mutex, MutexGuard};
use sha2::Sha256;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Events and coordination in the memory of this process.
pub struct InMemoryStore {
    seed: Option<Hmac<Sha256>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    /// The sequence number of the last removed event.
    removed: u64,
    positions: HashMap<String, u64>,
    letters: BTreeMap<(String, u64), DeadLetter>,
    keys: HashMap<String, [u8; 32]>,
    leases: HashMap<String, (String, Instant)>,
    used: HashMap<String, u64>,
    notes: BTreeMap<String, String>,
}

impl InMemoryStore {
    /// With a `seed`, the server keys are derived from it, so that replicas with the same seed have the same
    /// keys. The seed is a secret.
    pub fn new(seed: Option<&[u8]>) -> Result<Self, StoreError> {
        let seed = seed.map(|seed| {
            Hmac::<Sha256>::new_from_slice(seed).map_err(|e| StoreError::Data(e.to_string()))
        });
        Ok(Self {
            seed: seed.transpose()?,
            state: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn newest(&self) -> u64 {
        self.removed + self.events.len() as u64
    }
}

/// The store's clock.
fn unix_time_ms() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "a store has a clock of its own")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

#[async_trait]
impl EventLog for InMemoryStore {
    async fn append(&self, events: &[Event]) -> Result<(), StoreError> {
        self.lock().events.extend(events.iter().cloned());
        Ok(())
    }

    async fn events_after(
        &self,
        sequence: u64,
        limit: u32,
    ) -> Result<Vec<(u64, Event)>, StoreError> {
        let state = self.lock();
        let numbered = (state.removed + 1..).zip(&state.events);
        let after = numbered.filter(|(number, _)| *number > sequence);
        let after = after.take(limit as usize);
        Ok(after
            .map(|(number, event)| (number, event.clone()))
            .collect())
    }

    async fn bounds(&self) -> Result<Bounds, StoreError> {
        let state = self.lock();
        Ok(Bounds {
            removed: state.removed,
            newest: state.newest(),
        })
    }

    async fn trim_events(&self, keep: u64) -> Result<(), StoreError> {
        let mut state = self.lock();
        while state.events.len() as u64 > keep {
            state.events.pop_front();
            state.removed += 1;
        }
        Ok(())
    }

    async fn position(&self, reader: &str) -> Result<Option<u64>, StoreError> {
        Ok(self.lock().positions.get(reader).copied())
    }

    async fn set_position(&self, reader: &str, sequence: u64) -> Result<(), StoreError> {
        self.lock().positions.insert(reader.to_owned(), sequence);
        Ok(())
    }

    async fn add_dead_letter(&self, letter: &DeadLetter, keep: u32) -> Result<(), StoreError> {
        let mut state = self.lock();
        let key = (letter.webhook.clone(), letter.sequence);
        state.letters.insert(key, letter.clone());
        let of_hook = |(hook, _): &&(String, u64)| *hook == letter.webhook;
        let mut newest = state.letters.keys().rev().filter(of_hook);
        let last = newest.nth(keep as usize).cloned();
        if let Some((_, last)) = last {
            let kept = |(hook, number): &(String, u64)| *hook != letter.webhook || *number > last;
            state.letters.retain(|key, _| kept(key));
        }
        Ok(())
    }

    async fn dead_letter(
        &self,
        webhook: &str,
        sequence: u64,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let key = (webhook.to_owned(), sequence);
        Ok(self.lock().letters.get(&key).cloned())
    }

    async fn dead_letters(&self, webhook: &str, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let state = self.lock();
        let letters = state.letters.values().filter(|l| l.webhook == webhook);
        Ok(letters.take(limit as usize).cloned().collect())
    }

    async fn remove_dead_letter(&self, webhook: &str, sequence: u64) -> Result<bool, StoreError> {
        let key = (webhook.to_owned(), sequence);
        Ok(self.lock().letters.remove(&key).is_some())
    }
}

#[async_trait]
impl Coordination for InMemoryStore {
    async fn server_key(&self, name: &str, candidate: [u8; 32]) -> Result<[u8; 32], StoreError> {
        if let Some(seed) = &self.seed {
            let mac = seed.clone().chain_update(b"berth server key\0");
            let tag = mac.chain_update(name.as_bytes()).finalize();
            return Ok(tag.into_bytes().into());
        }
        let mut state = self.lock();
        Ok(*state.keys.entry(name.to_owned()).or_insert(candidate))
    }

    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool, StoreError> {
        let (mut state, now) = (self.lock(), Instant::now());
        let taken = state.leases.get(name);
        if taken.is_some_and(|(other, until)| other != holder && *until > now) {
            return Ok(false);
        }
        let lease = (holder.to_owned(), now + ttl);
        state.leases.insert(name.to_owned(), lease);
        Ok(true)
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.leases.get(name).is_some_and(|(by, _)| by == holder) {
            state.leases.remove(name);
        }
        Ok(())
    }

    async fn claim(&self, key: &str, now_ms: u64, until_ms: u64) -> Result<bool, StoreError> {
        let mut state = self.lock();
        if state.used.get(key).is_some_and(|until| *until > now_ms) {
            return Ok(false);
        }
        state.used.insert(key.to_owned(), until_ms);
        Ok(true)
    }

    async fn is_claimed(&self, key: &str, now_ms: u64) -> Result<bool, StoreError> {
        let state = self.lock();
        Ok(state.used.get(key).is_some_and(|until| *until > now_ms))
    }

    async fn purge_claims(&self) -> Result<(), StoreError> {
        let now_ms = unix_time_ms();
        self.lock().used.retain(|_, until_ms| *until_ms > now_ms);
        Ok(())
    }

    async fn put_value(&self, name: &str, text: Option<&str>) -> Result<(), StoreError> {
        let mut state = self.lock();
        match text {
            Some(text) => drop(state.notes.insert(name.to_owned(), text.to_owned())),
            None => drop(state.notes.remove(name)),
        }
        Ok(())
    }

    async fn list_values(&self, prefix: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let mut all = self.lock().notes.clone();
        all.retain(|name, _| name.starts_with(prefix));
        Ok(all)
    }

    async fn heartbeat(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[tokio::test]
    async fn it_passes_the_conformance_suite() {
        conformance::events(&InMemoryStore::new(None).unwrap()).await;
        conformance::coordination(&InMemoryStore::new(None).unwrap()).await;
        conformance::leases(&InMemoryStore::new(None).unwrap()).await;
    }

    #[tokio::test]
    async fn equal_seeds_give_equal_keys() {
        let key = async |seed: Option<&[u8]>, name: &str, candidate: u8| {
            let memory = InMemoryStore::new(seed).unwrap();
            memory.server_key(name, [candidate; 32]).await.unwrap()
        };
        let first = key(Some(b"seed"), "a", 1).await;
        assert_eq!(key(Some(b"seed"), "a", 2).await, first);
        assert_ne!(key(Some(b"seed"), "b", 1).await, first);
        assert_ne!(key(Some(b"other"), "a", 1).await, first);
        assert_ne!(first, [1; 32]);
    }
}
