//! The greatest of many keys, of which one changes at a time: blocks of keys and the greatest of each
//! block, so that neither a change nor a question looks at all of them. Knows no engines.

use super::Slot;
use rand::{Rng, RngExt};

/// Keys per block: near the root of what a large pool has.
const BLOCK: usize = 64;

/// The key of a slot that is not to be found.
const NEVER: f64 = f64::NEG_INFINITY;

/// Keys closer than this are equal.
const EPSILON: f64 = 1e-9;

/// Keys by slot.
#[derive(Debug, Default)]
pub(super) struct Peaks {
    keys: Vec<f64>,
    /// The greatest of each block.
    tops: Vec<f64>,
}

impl Peaks {
    /// So many slots, none of which is to be found.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            keys: vec![NEVER; slots],
            tops: vec![NEVER; slots.div_ceil(BLOCK)],
        }
    }

    /// The key of a slot; `None` when it is not to be found.
    pub(super) fn get(&self, slot: Slot) -> Option<f64> {
        let key = self.keys.get(slot as usize).copied();
        key.filter(|key| *key > NEVER)
    }

    /// Sets the key of a slot; `None`: it is not to be found.
    pub(super) fn set(&mut self, slot: Slot, key: Option<f64>) {
        let slot = slot as usize;
        let key = key.unwrap_or(NEVER);
        let Some(place) = self.keys.get_mut(slot) else {
            return;
        };
        let before = std::mem::replace(place, key);
        let block = slot / BLOCK;
        let Some(top) = self.tops.get_mut(block) else {
            return;
        };
        if key >= *top {
            *top = key;
        } else if before >= *top {
            let keys = self.keys.chunks(BLOCK).nth(block).unwrap_or_default();
            *top = greatest_of(keys);
        }
    }

    /// The greatest key.
    pub(super) fn top(&self) -> Option<f64> {
        let top = greatest_of(&self.tops);
        (top > NEVER).then_some(top)
    }

    /// The slot with the greatest key; of several that are as great, one at random.
    pub(super) fn greatest(&self, random: &mut dyn Rng) -> Option<Slot> {
        let least = self.top()? - EPSILON;
        let block = one_of(&self.tops, least, random)?;
        let within = one_of(self.block(block), least, random)?;
        Slot::try_from(block * BLOCK + within).ok()
    }

    fn block(&self, block: usize) -> &[f64] {
        self.keys.chunks(BLOCK).nth(block).unwrap_or_default()
    }
}

/// The greatest of these keys, found in several lanes: one key after the other would wait for the comparison
/// before.
fn greatest_of(keys: &[f64]) -> f64 {
    const LANES: usize = 8;
    let (chunks, rest) = keys.as_chunks::<LANES>();
    let mut tops = [NEVER; LANES];
    for chunk in chunks {
        for (top, key) in tops.iter_mut().zip(chunk) {
            if *key > *top {
                *top = *key;
            }
        }
    }
    tops.iter().chain(rest).copied().fold(NEVER, f64::max)
}

/// The place of one of the keys that are not less, at random.
fn one_of(keys: &[f64], least: f64, random: &mut dyn Rng) -> Option<usize> {
    let count = keys.iter().filter(|key| **key >= least).count();
    let nth = if count > 1 {
        random.random_range(0..count)
    } else {
        0
    };
    let equals = keys.iter().enumerate().filter(|(_, key)| **key >= least);
    equals.map(|(place, _)| place).nth(nth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    proptest! {
        #[test]
        fn finds_what_a_look_at_all_finds(
            changes in prop::collection::vec((0..200_u32, prop::option::of(-5.0..5.0_f64)), 1..400)
        ) {
            let mut peaks = Peaks::new(200);
            let mut all = vec![None; 200];
            let mut random = StdRng::seed_from_u64(1);
            prop_assert_eq!(peaks.greatest(&mut random), None);
            for (slot, key) in changes {
                peaks.set(slot, key);
                all[slot as usize] = key;
                prop_assert_eq!(peaks.get(slot), key);
                let greatest = all.iter().flatten().copied().fold(NEVER, f64::max);
                match peaks.greatest(&mut random) {
                    Some(found) => prop_assert!(all[found as usize] >= Some(greatest - EPSILON)),
                    None => prop_assert!(all.iter().all(Option::is_none)),
                }
            }
        }
    }
}
