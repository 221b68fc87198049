//! The handle of a key that counts on an engine: as long as it exists the key counts as one session, with or without
//! streams. Knows neither what a key is nor how long it lives.

use super::{EngineAccounting, Reservation};
use std::sync::Arc;
use tokio::time::Instant;

/// What counts of a key with several streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCount {
    /// One session, however many streams it has.
    Key,
    /// Each stream, and one session while there is none.
    Streams,
}

/// The prefix of the names of keys in the ledger, where they are beside streams.
const LEDGER_PREFIX: &str = "key.";

/// The name of a key in the ledger. All replicas use it, so the ledger counts the key once.
#[must_use]
pub fn ledger_name(key: &str) -> String {
    format!("{LEDGER_PREFIX}{key}")
}

pub(super) fn key_of_ledger_name(name: &str) -> Option<&str> {
    name.strip_prefix(LEDGER_PREFIX)
}

/// A key that counts on an engine until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the counting of the key"]
pub struct HeldKey {
    accounting: Arc<EngineAccounting>,
    name: Arc<str>,
}

impl EngineAccounting {
    /// The key counts from now on. `reservation`: that of the session that was prepared for the key, confirmed under the
    /// key's [`ledger_name`]; `None`: the key has been on the engine before.
    pub fn hold_key(
        self: &Arc<Self>,
        key: &str,
        counts: KeyCount,
        reservation: Option<Reservation>,
        now: Instant,
    ) -> HeldKey {
        let name: Arc<str> = key.into();
        let in_ledger: Option<Arc<str>> = self.ledger.as_ref().map(|_| ledger_name(key).into());
        let mut reservation = reservation.filter(|own| Arc::ptr_eq(&own.accounting, self));
        let estimate = reservation.as_mut().map(|reservation| {
            // The key's entry releases it in the ledger.
            reservation.stream = None;
            reservation.estimate
        });
        if let (Some(ledger), Some(name), None) = (&self.ledger, &in_ledger, &estimate) {
            ledger.opened(name);
        }
        let mut state = self.update();
        state.add_key(&name, counts, estimate, in_ledger, now);
        drop(state);
        // Only now, so that nobody gets the room of the key.
        drop(reservation);
        HeldKey {
            accounting: Arc::clone(self),
            name,
        }
    }
}

impl HeldKey {
    /// A reservation for one more stream of the key. It needs no room.
    pub fn join(&self, now: Instant) -> Reservation {
        let accounting = &self.accounting;
        let mut state = accounting.update();
        state.expire(&accounting.expiry(), now);
        if let Some(session) = state.join_key(&self.name, &accounting.lifetime, now) {
            drop(state);
            return Reservation::joining(Arc::clone(accounting), session);
        }
        // Does not count as a selection for the strategy's rotation: reuses the turn of the engine.
        let turn = state.turn;
        drop(state);
        let mut reservation = accounting.reserve(turn);
        reservation.key = Some(Arc::clone(&self.name));
        reservation
    }

    /// Streams of the key on this engine through this replica, open or expected.
    #[must_use]
    pub fn streams(&self, now: Instant) -> u32 {
        let mut state = self.accounting.lock();
        state.expire(&self.accounting.expiry(), now);
        state.key_streams(&self.name)
    }

    /// Whether this is the accounting of the engine: it has another one after its address has changed.
    #[must_use]
    pub fn is_in(&self, accounting: &Arc<EngineAccounting>) -> bool {
        Arc::ptr_eq(&self.accounting, accounting)
    }
}

impl Drop for HeldKey {
    fn drop(&mut self) {
        let accounting = &self.accounting;
        let mut state = accounting.update();
        state.remove_key(&self.name, accounting.ledger.as_ref(), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sessions(accounting: &EngineAccounting, now: Instant) -> (u32, u32) {
        let snapshot = accounting.snapshot(now);
        (snapshot.sessions(None), snapshot.sessions(Some(0)))
    }

    #[test]
    fn a_key_counts_once_or_as_its_streams() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        for (counts, expected) in [
            (KeyCount::Key, [1, 1, 1, 1]),
            (KeyCount::Streams, [1, 1, 3, 1]),
        ] {
            let accounting = Arc::new(EngineAccounting::new(60 * second));
            let reservation = accounting.reserve(1);
            let key = accounting.hold_key("k", counts, Some(reservation), now);
            assert_eq!(sessions(&accounting, now), (expected[0], expected[0]));
            key.join(now).placed("a", now);
            assert_eq!(sessions(&accounting, now), (expected[1], expected[1]));
            key.join(now).placed("b", now);
            let dropped = key.join(now);
            assert_eq!(
                key.streams(now),
                if counts == KeyCount::Key { 3 } else { 2 }
            );
            drop(dropped);
            accounting.opened_with_key("c", "r", Some("k"), now);
            assert_eq!(sessions(&accounting, now), (expected[2], expected[2]));
            assert_eq!(key.streams(now), 3);
            for stream in ["a", "c", "b"] {
                assert!(accounting.closed(stream, Duration::ZERO, now));
            }
            assert_eq!(sessions(&accounting, now), (expected[3], expected[3]));
            // A probe that counts only sockets does not hide the key.
            accounting.apply_probed_sessions(now + second, 0);
            assert_eq!(sessions(&accounting, now + second), (1, 1));
            key.join(now).placed("d", now);
            drop(key);
            assert_eq!(accounting.snapshot(now).own, 1, "its stream");
            accounting.closed("d", Duration::ZERO, now);
            assert_eq!(accounting.snapshot(now).own, 0);
            assert_eq!(accounting.snapshot(now).idle_keys, 0);
        }
    }
}
