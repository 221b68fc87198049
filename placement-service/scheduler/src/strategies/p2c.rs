//! The better of two engines drawn at random, by the same scores as least-load: nearly as even, and
//! several services that choose for the same engines do not agree on one.

use crate::Slot;
use crate::eligible_set::Open;
use crate::max_index::Peaks;
use rand::Rng;

pub(crate) fn pick(open: &Open, keys: &Peaks, random: &mut dyn Rng) -> Option<Slot> {
    let (first, second) = open.draw_two(random)?;
    Some(if keys.get(second) > keys.get(first) {
        second
    } else {
        first
    })
}
