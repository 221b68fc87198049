//! One callout for all requests of a session that come while it is under way. The first one leads: the
//! callout is its own, and ends with it. When its client goes, whoever waits is an orphan, and the root
//! context calls for them. Knows no host and no request; `W` is what the host keeps of one that waits.

use crate::cache::Key;
use std::collections::HashMap;

/// Who makes a flight's callout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leader {
    /// The request with this number.
    Request(u32),
    /// Nobody: the one who did is gone.
    Nobody,
    /// The root context, with this callout.
    Root(u32),
}

struct Flight<W> {
    leader: Leader,
    epoch: u64,
    body: Vec<u8>,
    waiting: Vec<(u32, W)>,
}

/// A callout that has ended, and who waited for it.
pub struct Landed<W> {
    /// The cache's epoch when the callout began.
    pub epoch: u64,
    /// Each with the number of its request, in the order in which they came.
    pub waiting: Vec<(u32, W)>,
}

/// The callouts under way.
pub struct Flights<W>(HashMap<Key, Flight<W>>);

impl<W> Default for Flights<W> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<W> Flights<W> {
    /// Whether a callout for this session is under way, or will be.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// A request has sent its callout, with this body, in this epoch of the cache.
    pub fn lead(&mut self, key: Key, request: u32, body: Vec<u8>, epoch: u64) {
        let flight = Flight {
            leader: Leader::Request(request),
            epoch,
            body,
            waiting: Vec::new(),
        };
        self.0.insert(key, flight);
    }

    /// A request waits with the others. Gives `waits` back when there is nothing to wait for.
    ///
    /// # Errors
    /// With what was to wait.
    pub fn wait(&mut self, key: &Key, request: u32, waits: W) -> Result<(), W> {
        match self.0.get_mut(key) {
            Some(flight) => {
                flight.waiting.push((request, waits));
                Ok(())
            }
            None => Err(waits),
        }
    }

    /// A request's client is gone, whether it led or waited. True when others are orphans now.
    pub fn leave(&mut self, key: &Key, request: u32) -> bool {
        let Some(flight) = self.0.get_mut(key) else {
            return false;
        };
        flight.waiting.retain(|(id, _)| *id != request);
        if flight.leader == Leader::Request(request) {
            flight.leader = Leader::Nobody;
        }
        let abandoned = flight.leader == Leader::Nobody;
        if abandoned && flight.waiting.is_empty() {
            self.0.remove(key);
            return false;
        }
        abandoned
    }

    /// The request's own callout has ended.
    pub fn landed(&mut self, key: &Key, request: u32) -> Option<Landed<W>> {
        let ended = |flight: &Flight<W>| flight.leader == Leader::Request(request);
        self.land(key, ended)
    }

    /// The orphans: their sessions, and what to ask.
    #[must_use]
    pub fn orphans(&self) -> Vec<(Key, Vec<u8>)> {
        let orphan = |flight: &&Flight<W>| flight.leader == Leader::Nobody;
        let flights = self.0.iter();
        flights
            .filter(|(_, flight)| orphan(flight))
            .map(|(key, flight)| (*key, flight.body.clone()))
            .collect()
    }

    /// The root context has sent a callout for orphans; it began in this epoch of the cache.
    pub fn adopt(&mut self, key: &Key, callout: u32, epoch: u64) {
        if let Some(flight) = self.0.get_mut(key) {
            flight.leader = Leader::Root(callout);
            flight.epoch = epoch;
        }
    }

    /// The root context could not send one.
    pub fn abandon(&mut self, key: &Key) -> Option<Landed<W>> {
        self.land(key, |flight| flight.leader == Leader::Nobody)
    }

    /// A callout of the root context has ended; `None` when it was not for orphans.
    pub fn adopted_landed(&mut self, callout: u32) -> Option<(Key, Landed<W>)> {
        let ended = |flight: &Flight<W>| flight.leader == Leader::Root(callout);
        let key = self.0.iter().find(|(_, flight)| ended(flight))?;
        let key = *key.0;
        Some((key, self.land(&key, ended)?))
    }

    fn land(&mut self, key: &Key, ended: impl Fn(&Flight<W>) -> bool) -> Option<Landed<W>> {
        if !self.0.get(key).is_some_and(ended) {
            return None;
        }
        let Flight { epoch, waiting, .. } = self.0.remove(key)?;
        Some(Landed { epoch, waiting })
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

    fn flights(key: Key) -> Flights<&'static str> {
        let mut flights = Flights::default();
        flights.lead(key, 1, b"body".to_vec(), 7);
        for (id, name) in [(2, "two"), (3, "three")] {
            assert_eq!(flights.wait(&key, id, name), Ok(()));
        }
        flights
    }

    #[test]
    fn whoever_waits_hears_of_the_end_in_order() {
        let key = Key::of("a");
        let mut flights = flights(key);
        assert!(flights.landed(&key, 2).is_none());
        let landed = flights.landed(&key, 1).unwrap();
        assert_eq!(
            (landed.epoch, landed.waiting),
            (7, vec![(2, "two"), (3, "three")])
        );
        assert!(!flights.has(&key) && flights.landed(&key, 1).is_none());
        assert_eq!(flights.wait(&key, 4, "four"), Err("four"));
    }

    #[test]
    fn the_root_calls_for_orphans() {
        let key = Key::of("a");
        let mut flights = flights(key);
        assert!(!flights.leave(&key, 2));
        assert!(flights.orphans().is_empty());
        assert!(flights.leave(&key, 1));
        assert_eq!(flights.orphans(), [(key, b"body".to_vec())]);
        assert!(flights.has(&key));
        flights.adopt(&key, 99, 8);
        assert!(flights.orphans().is_empty());
        assert_eq!(flights.wait(&key, 4, "four"), Ok(()));
        assert!(flights.adopted_landed(98).is_none());
        let (found, landed) = flights.adopted_landed(99).unwrap();
        assert!(found == key && landed.epoch == 8);
        assert_eq!(landed.waiting, [(3, "three"), (4, "four")]);
    }

    #[test]
    fn orphans_whose_callout_cannot_be_sent_hear_of_it() {
        let key = Key::of("a");
        let mut flights = flights(key);
        assert!(flights.abandon(&key).is_none());
        flights.leave(&key, 1);
        assert_eq!(flights.abandon(&key).unwrap().waiting.len(), 2);
        assert!(!flights.has(&key));
    }

    #[test]
    fn a_flight_that_nobody_waits_for_is_gone() {
        let key = Key::of("a");
        let mut flights = flights(key);
        for id in [3, 1] {
            flights.leave(&key, id);
        }
        assert!(!flights.leave(&key, 2));
        assert!(!flights.has(&key));
        assert!(!flights.leave(&key, 2));
    }

    #[cfg(not(target_family = "wasm"))]
    proptest! {
        /// Nobody hangs: who has come and not gone is either answered, or somebody calls for him, or is to.
        #[test]
        fn in_any_history_everybody_is_called_for(events in prop::collection::vec((0_u8..5, 0_u32..6), 1..100)) {
            let key = Key::of("a");
            let mut flights: Flights<()> = Flights::default();
            let (mut leader, mut root, mut here) = (None, None, BTreeSet::new());
            for (step, (event, id)) in events.into_iter().enumerate() {
                let request = u32::try_from(step).unwrap() * 10;
                match event {
                    0 | 1 if flights.has(&key) => {
                        prop_assert!(flights.wait(&key, request, ()).is_ok());
                        here.insert(request);
                    }
                    0 | 1 => {
                        flights.lead(key, request, vec![], 0);
                        leader = Some(request);
                        here.insert(request);
                    }
                    2 => {
                        let gone = here.iter().nth(id as usize % here.len().max(1)).copied();
                        if let Some(gone) = gone {
                            flights.leave(&key, gone);
                            here.remove(&gone);
                            leader = leader.filter(|leader| *leader != gone);
                        }
                    }
                    3 => for (key, _) in flights.orphans() {
                        flights.adopt(&key, request, 0);
                        root = Some(request);
                    },
                    _ => {
                        let landed = leader.take().and_then(|leader| {
                            here.remove(&leader);
                            flights.landed(&key, leader)
                        });
                        let adopted = root.take().and_then(|root| flights.adopted_landed(root));
                        for (id, ()) in landed.into_iter().chain(adopted.map(|(_, landed)| landed)).flat_map(|l| l.waiting) {
                            prop_assert!(here.remove(&id), "answered once, and only who is there");
                        }
                    }
                }
                let called_for = leader.is_some() || root.is_some() || !flights.orphans().is_empty();
                prop_assert!(here.is_empty() || called_for);
            }
        }
    }
}
