//! The slots that may be chosen, in no order: one is put in, taken out or drawn at random in a few steps.
//! Knows no engines.

use super::Slot;
use rand::{Rng, RngExt};

/// A slot that is not in.
const OUT: u32 = u32::MAX;

/// Slots that may be chosen.
#[derive(Debug, Default)]
pub(super) struct Open {
    slots: Vec<Slot>,
    /// Where each slot is in `slots`.
    places: Vec<u32>,
}

impl Open {
    /// Of so many slots none.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: Vec::with_capacity(slots),
            places: vec![OUT; slots],
        }
    }

    /// All that are in.
    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().copied()
    }

    /// Puts a slot in or takes it out.
    pub(super) fn set(&mut self, slot: Slot, open: bool) {
        let Some(place) = self.places.get_mut(slot as usize) else {
            return;
        };
        if open == (*place != OUT) {
            return;
        }
        if open {
            *place = u32::try_from(self.slots.len()).unwrap_or(OUT);
            self.slots.push(slot);
            return;
        }
        let place = std::mem::replace(place, OUT);
        self.slots.swap_remove(place as usize);
        // The last one has moved there.
        let moved = self.slots.get(place as usize).copied();
        if let Some(of_moved) = moved.and_then(|slot| self.places.get_mut(slot as usize)) {
            *of_moved = place;
        }
    }

    /// One at random, each with the same chance.
    pub(super) fn draw(&self, random: &mut dyn Rng) -> Option<Slot> {
        if self.slots.is_empty() {
            return None;
        }
        let place = random.random_range(0..self.slots.len());
        self.slots.get(place).copied()
    }

    /// Two different ones at random; twice the same when there is no other.
    pub(super) fn draw_two(&self, random: &mut dyn Rng) -> Option<(Slot, Slot)> {
        let first = self.draw(random)?;
        if self.slots.len() < 2 {
            return Some((first, first));
        }
        // One of the others: the last one stands in for the first that was drawn.
        let place = random.random_range(0..self.slots.len() - 1);
        let second = self.slots.get(place).copied().filter(|s| *s != first);
        Some((first, second.or(self.slots.last().copied())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn holds_what_a_set_holds(changes in prop::collection::vec((0..20_u32, any::<bool>()), 0..200)) {
            let mut open = Open::new(20);
            let mut set = BTreeSet::new();
            let mut random = StdRng::seed_from_u64(1);
            for (slot, put) in changes {
                open.set(slot, put);
                if put { set.insert(slot); } else { set.remove(&slot); }
                prop_assert_eq!(open.iter().collect::<BTreeSet<_>>(), set.clone());
                prop_assert_eq!(open.slots.len(), set.len());
                match open.draw(&mut random) {
                    Some(slot) => prop_assert!(set.contains(&slot)),
                    None => prop_assert!(set.is_empty()),
                }
                if let Some((a, b)) = open.draw_two(&mut random) {
                    prop_assert!(set.contains(&a) && set.contains(&b) && (a != b || set.len() == 1));
                }
            }
        }
    }
}
