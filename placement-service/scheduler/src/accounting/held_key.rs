//! The handle of a key that counts on an engine: as long as it exists the key counts as one session, with or without
//! streams. Knows neither what a key is nor how long it lives.

use super::key_count::{KeyCount, ledger_name};
use super::state::SessionId;
use super::{EngineAccounting, Reservation};
use crate::engine::EngineName;
use std::sync::Arc;
use tokio::time::Instant;

/// A key that counts on an engine until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the counting of the key"]
pub struct HeldKey {
    accounting: Arc<EngineAccounting>,
    name: Arc<str>,
    counts: KeyCount,
}

impl EngineAccounting {
    /// The key counts from now on. `reservation`: that of the session that was prepared for the key, confirmed under the
    /// key's [`ledger_name`]; `None`: the key has been on the engine before.
    pub fn hold_key(
        self: &Arc<Self>,
        (key, engine): (&str, &EngineName),
        counts: KeyCount,
        reservation: Option<Reservation>,
        now: Instant,
    ) -> HeldKey {
        let name: Arc<str> = key.into();
        let in_ledger = self.ledger.as_ref().map(|_| ledger_name(key, engine));
        let in_ledger: Option<Arc<str>> = in_ledger.map(Into::into);
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
            counts,
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
        if self.counts == KeyCount::Key {
            // Another replica counts the key.
            drop(state);
            return Reservation::joining(Arc::clone(accounting), SessionId::NONE);
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
            let engine = EngineName::from("e");
            let key = accounting.hold_key(("k", &engine), counts, Some(reservation), now);
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

    #[test]
    fn a_key_that_another_replica_counts_does_not_count_here() {
        let now = Instant::now();
        let accounting = Arc::new(EngineAccounting::new(Duration::from_secs(60)));
        let engine = EngineName::from("e 1");
        let key = accounting.hold_key(("k", &engine), KeyCount::Key, None, now);
        key.join(now).placed("a", now);
        assert_eq!(ledger_name("k", &engine), "key.k.e_1");
        accounting.transferred(&ledger_name("k", &engine));
        assert_eq!(sessions(&accounting, now).0, 0);
        key.join(now).placed("b", now);
        assert_eq!(sessions(&accounting, now).0, 0);
        for stream in ["a", "b"] {
            assert!(accounting.closed(stream, Duration::ZERO, now));
        }
        drop(key);
        assert_eq!(accounting.snapshot(now).own, 0);
        assert_eq!(accounting.snapshot(now).idle_keys, 0);
    }
}
