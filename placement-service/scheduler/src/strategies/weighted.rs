//! At random, with a probability proportional to the room that is left: threshold minus sessions.
//! Engines without room are not among the candidates.

use crate::Slot;
use crate::candidate::Facts;
use crate::eligible_set::Open;
use crate::max_index::Peaks;
use crate::score::Scores;
use crate::strategies;
use crate::strategy::Strategy;
use rand::{Rng, RngExt};

/// Draws before all are looked at: few are needed unless most engines are nearly full.
const DRAWS: usize = 32;

/// `threshold`: sessions per engine at the most. Configuration checks that there is one; without, all
/// have the same chance.
pub(crate) fn scores(facts: &Facts, threshold: Option<u32>) -> Scores {
    let room = threshold.map_or(1.0, |most| {
        f64::from(most.saturating_sub(facts.sessions)) / f64::from(most.max(1))
    });
    Scores::one("room", room)
}

/// Draws one and takes it with a probability in proportion to its key; else draws again.
pub(crate) fn pick(open: &Open, keys: &Peaks, random: &mut dyn Rng) -> Option<Slot> {
    let greatest = keys.top()?;
    for _ in 0..DRAWS {
        let slot = open.draw(random)?;
        if random.random::<f64>() * greatest < keys.get(slot).unwrap_or(0.0) {
            return Some(slot);
        }
    }
    let all = open.iter().filter_map(|slot| Some((slot, keys.get(slot)?)));
    strategies::pick_of_few(Strategy::Weighted, all, random)
}
