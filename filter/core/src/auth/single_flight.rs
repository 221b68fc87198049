//! One call for all requests of a session that arrive while it is in flight. The first request (the leader) owns the
//! call. If its client disconnects, the root context repeats the call for the remaining waiters. Knows no host and no
//! request; `W` is what the host keeps for a waiter.

use crate::auth::token_cache::CacheKey;
use std::collections::HashMap;

/// The owner of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    /// The request with this id.
    Request(u32),
    /// None: the leader has disconnected.
    None,
    /// The root context, with this call.
    Root(u32),
}

struct Flight<W> {
    leader: Leader,
    epoch: u64,
    body: Vec<u8>,
    waiters: Vec<(u32, W)>,
}

/// A completed call and its waiters.
pub struct CompletedFlight<W> {
    /// The epoch of the cache when the call started.
    pub epoch: u64,
    /// Each waiter with the id of its request, in the order of arrival.
    pub waiters: Vec<(u32, W)>,
}

/// The calls in flight.
pub struct SingleFlight<W>(HashMap<CacheKey, Flight<W>>);

impl<W> Default for SingleFlight<W> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<W> SingleFlight<W> {
    /// Whether a call for this session is in flight or about to be repeated.
    #[must_use]
    pub fn contains(&self, key: &CacheKey) -> bool {
        self.0.contains_key(key)
    }

    /// A request has sent its call, with this body, in this epoch of the cache.
    pub fn start(&mut self, key: CacheKey, request: u32, body: Vec<u8>, epoch: u64) {
        let flight = Flight {
            leader: Leader::Request(request),
            epoch,
            body,
            waiters: Vec::new(),
        };
        self.0.insert(key, flight);
    }

    /// Adds a waiter to the call of its session.
    ///
    /// # Errors
    /// Returns `waiter` when no call is in flight.
    pub fn wait(&mut self, key: &CacheKey, request: u32, waiter: W) -> Result<(), W> {
        match self.0.get_mut(key) {
            Some(flight) => {
                flight.waiters.push((request, waiter));
                Ok(())
            }
            None => Err(waiter),
        }
    }

    /// Removes a request, leader or waiter, whose client has disconnected. True when waiters are left without a
    /// leader.
    pub fn leave(&mut self, key: &CacheKey, request: u32) -> bool {
        let Some(flight) = self.0.get_mut(key) else {
            return false;
        };
        flight.waiters.retain(|(id, _)| *id != request);
        if flight.leader == Leader::Request(request) {
            flight.leader = Leader::None;
        }
        let leaderless = flight.leader == Leader::None;
        if leaderless && flight.waiters.is_empty() {
            self.0.remove(key);
            return false;
        }
        leaderless
    }

    /// The call of this request has completed.
    pub fn complete(&mut self, key: &CacheKey, request: u32) -> Option<CompletedFlight<W>> {
        self.remove_led_by(key, Leader::Request(request))
    }

    /// The calls without a leader: key and body.
    #[must_use]
    pub fn leaderless(&self) -> Vec<(CacheKey, Vec<u8>)> {
        let flights = self.0.iter();
        flights
            .filter(|(_, flight)| flight.leader == Leader::None)
            .map(|(key, flight)| (*key, flight.body.clone()))
            .collect()
    }

    /// The root context has repeated a leaderless call, in this epoch of the cache.
    pub fn take_over(&mut self, key: &CacheKey, call: u32, epoch: u64) {
        if let Some(flight) = self.0.get_mut(key) {
            flight.leader = Leader::Root(call);
            flight.epoch = epoch;
        }
    }

    /// The root context could not send a leaderless call.
    pub fn fail(&mut self, key: &CacheKey) -> Option<CompletedFlight<W>> {
        self.remove_led_by(key, Leader::None)
    }

    /// A call of the root context has completed; `None` when it was not one of these.
    pub fn complete_takeover(&mut self, call: u32) -> Option<(CacheKey, CompletedFlight<W>)> {
        let leader = Leader::Root(call);
        let (key, _) = self.0.iter().find(|(_, flight)| flight.leader == leader)?;
        let key = *key;
        Some((key, self.remove_led_by(&key, leader)?))
    }

    fn remove_led_by(&mut self, key: &CacheKey, leader: Leader) -> Option<CompletedFlight<W>> {
        if self.0.get(key)?.leader != leader {
            return None;
        }
        let Flight { epoch, waiters, .. } = self.0.remove(key)?;
        Some(CompletedFlight { epoch, waiters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(not(target_family = "wasm"))]
    use proptest::prelude::*;
    #[cfg(not(target_family = "wasm"))]
    use std::collections::BTreeSet;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn flights(key: CacheKey) -> SingleFlight<&'static str> {
        let mut flights = SingleFlight::default();
        flights.start(key, 1, b"body".to_vec(), 7);
        for (id, name) in [(2, "two"), (3, "three")] {
            assert_eq!(flights.wait(&key, id, name), Ok(()));
        }
        flights
    }

    #[test]
    fn waiters_are_returned_in_order_of_arrival() {
        let key = CacheKey::from_cookie("a");
        let mut flights = flights(key);
        assert!(flights.complete(&key, 2).is_none());
        let completed = flights.complete(&key, 1).unwrap();
        assert_eq!(
            (completed.epoch, completed.waiters),
            (7, vec![(2, "two"), (3, "three")])
        );
        assert!(!flights.contains(&key) && flights.complete(&key, 1).is_none());
        assert_eq!(flights.wait(&key, 4, "four"), Err("four"));
    }

    #[test]
    fn the_root_context_takes_over_a_leaderless_call() {
        let key = CacheKey::from_cookie("a");
        let mut flights = flights(key);
        assert!(!flights.leave(&key, 2));
        assert!(flights.leaderless().is_empty());
        assert!(flights.leave(&key, 1));
        assert_eq!(flights.leaderless(), [(key, b"body".to_vec())]);
        assert!(flights.contains(&key));
        flights.take_over(&key, 99, 8);
        assert!(flights.leaderless().is_empty());
        assert_eq!(flights.wait(&key, 4, "four"), Ok(()));
        assert!(flights.complete_takeover(98).is_none());
        let (leaderless_key, completed) = flights.complete_takeover(99).unwrap();
        assert!(leaderless_key == key && completed.epoch == 8);
        assert_eq!(completed.waiters, [(3, "three"), (4, "four")]);
    }

    #[test]
    fn a_failed_takeover_returns_its_waiters() {
        let key = CacheKey::from_cookie("a");
        let mut flights = flights(key);
        assert!(flights.fail(&key).is_none());
        flights.leave(&key, 1);
        assert_eq!(flights.fail(&key).unwrap().waiters.len(), 2);
        assert!(!flights.contains(&key));
    }

    #[test]
    fn a_flight_without_waiters_is_removed() {
        let key = CacheKey::from_cookie("a");
        let mut flights = flights(key);
        for id in [3, 1] {
            flights.leave(&key, id);
        }
        assert!(!flights.leave(&key, 2));
        assert!(!flights.contains(&key));
        assert!(!flights.leave(&key, 2));
    }

    #[cfg(not(target_family = "wasm"))]
    proptest! {
        /// No request hangs: one that has not left is answered, or a call for it is in flight or due.
        #[test]
        fn in_any_history_a_call_covers_every_waiter(events in prop::collection::vec((0_u8..5, 0_u32..6), 1..100)) {
            let key = CacheKey::from_cookie("a");
            let mut flights: SingleFlight<()> = SingleFlight::default();
            let (mut leader, mut root, mut present) = (None, None, BTreeSet::new());
            for (step, (event, id)) in events.into_iter().enumerate() {
                let request = u32::try_from(step).unwrap() * 10;
                match event {
                    0 | 1 if flights.contains(&key) => {
                        prop_assert!(flights.wait(&key, request, ()).is_ok());
                        present.insert(request);
                    }
                    0 | 1 => {
                        flights.start(key, request, vec![], 0);
                        leader = Some(request);
                        present.insert(request);
                    }
                    2 => {
                        let gone = present.iter().nth(id as usize % present.len().max(1)).copied();
                        if let Some(gone) = gone {
                            flights.leave(&key, gone);
                            present.remove(&gone);
                            leader = leader.filter(|leader| *leader != gone);
                        }
                    }
                    3 => for (key, _) in flights.leaderless() {
                        flights.take_over(&key, request, 0);
                        root = Some(request);
                    },
                    _ => {
                        let completed = leader.take().and_then(|leader| {
                            present.remove(&leader);
                            flights.complete(&key, leader)
                        });
                        let taken_over = root.take().and_then(|root| flights.complete_takeover(root));
                        for (id, ()) in completed.into_iter().chain(taken_over.map(|(_, completed)| completed)).flat_map(|l| l.waiters) {
                            prop_assert!(present.remove(&id), "answered once, and only while present");
                        }
                    }
                }
                let covered = leader.is_some() || root.is_some() || !flights.leaderless().is_empty();
                prop_assert!(present.is_empty() || covered);
            }
        }
    }
}
