//! The strategies side by side: which scores each weighs, and how it picks among them.

mod least_load;
mod p2c;
pub(crate) mod packed;
mod round_robin;
mod weighted;

use super::Rules;
use super::Slot;
use super::candidate::{Facts, Scale};
use super::eligible_set::Open;
use super::max_index::Peaks;
use super::score::Scores;
use crate::strategy::Strategy;
use rand::{Rng, RngExt};

/// What the strategy thinks of one engine, whatever the document.
pub(super) fn scores(rules: &Rules, facts: &Facts, scale: &Scale) -> Scores {
    match rules.strategy {
        Strategy::RoundRobin => round_robin::scores(facts, scale),
        Strategy::LeastLoad | Strategy::P2c => least_load::scores(facts, scale, &rules.weights),
        Strategy::Weighted => weighted::scores(facts, rules.threshold),
        Strategy::Packed => packed::scores(facts, scale),
    }
}

/// Orders engines as their scores do, and stays right while the scale does.
pub(super) fn key(rules: &Rules, facts: &Facts, scale: &Scale) -> f64 {
    if key_is_total(rules.strategy) {
        scores(rules, facts, scale).total()
    } else {
        round_robin::key(facts)
    }
}

/// Whether the key is what the scores come to. By turns, each choice would change that of every engine.
pub(super) const fn key_is_total(strategy: Strategy) -> bool {
    !matches!(strategy, Strategy::RoundRobin)
}

/// Whether it draws: then the engine with the highest score need not be the one.
pub(super) const fn draws(strategy: Strategy) -> bool {
    matches!(strategy, Strategy::Weighted | Strategy::P2c)
}

/// Picks among all that are open.
pub(super) fn pick(
    strategy: Strategy,
    open: &Open,
    keys: &Peaks,
    random: &mut dyn Rng,
) -> Option<Slot> {
    match strategy {
        Strategy::RoundRobin | Strategy::LeastLoad | Strategy::Packed => keys.greatest(random),
        Strategy::Weighted => weighted::pick(open, keys, random),
        Strategy::P2c => p2c::pick(open, keys, random),
    }
}

/// Picks among a few, each with its key: the greatest, or in proportion.
pub(super) fn pick_of_few(
    strategy: Strategy,
    few: impl Iterator<Item = (Slot, f64)>,
    random: &mut dyn Rng,
) -> Option<Slot> {
    let proportional = strategy == Strategy::Weighted;
    let mut sum = 0.0;
    let mut best: Option<(Slot, f64)> = None;
    for (slot, key) in few {
        sum += key;
        let takes = match best {
            None => true,
            // Each ends up chosen with a probability in proportion to its key.
            Some(_) if proportional => sum > 0.0 && random.random::<f64>() * sum < key,
            Some((_, greatest)) => key > greatest,
        };
        if takes {
            best = Some((slot, key));
        }
    }
    best.map(|(slot, _)| slot)
}
