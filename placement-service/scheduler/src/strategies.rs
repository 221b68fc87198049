//! The strategies side by side: how each scores an engine, and how it picks among the scores.

mod least_load;
mod p2c;
pub(crate) mod packed;
mod round_robin;
mod weighted;

use super::candidate::{Candidate, PoolBaseline};
use super::score::Scores;
use super::{EngineIndex, Rules};
use crate::strategy::Strategy;
use rand::Rng;
use rand::seq::IteratorRandom;

/// Totals that differ by less are equal.
const EPSILON: f64 = 1e-9;

/// The result of scoring one engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scored {
    pub(crate) index: EngineIndex,
    /// The weighted mean of its scores, 0 to 1.
    pub(crate) total: f64,
}

/// The strategy's scores of one engine, whatever the document. Runs once per engine and decision: inlined, most of
/// [`Scores`] is optimised away.
#[inline]
pub(super) fn scores(rules: &Rules, candidate: &Candidate, baseline: &PoolBaseline) -> Scores {
    match rules.strategy {
        Strategy::RoundRobin => round_robin::scores(candidate, baseline),
        Strategy::LeastLoad | Strategy::P2c => {
            least_load::scores(candidate, baseline, &rules.weights)
        }
        Strategy::Weighted => weighted::scores(candidate, rules.per_engine),
        Strategy::Packed => packed::scores(candidate, baseline),
    }
}

/// Whether the strategy draws at random: then it need not pick the engine with the highest score.
pub(super) const fn is_random(strategy: Strategy) -> bool {
    matches!(strategy, Strategy::Weighted | Strategy::P2c)
}

/// Picks among the scored engines.
pub(super) fn pick(strategy: Strategy, scored: &[Scored], random: &mut dyn Rng) -> Option<Scored> {
    match strategy {
        Strategy::RoundRobin | Strategy::LeastLoad | Strategy::Packed => pick_best(scored, random),
        Strategy::Weighted => weighted::pick(scored, random),
        Strategy::P2c => p2c::pick(scored, random),
    }
}

/// Picks among the engines that hold the document. They are few, so p2c takes the best of all.
pub(super) fn pick_holder(
    strategy: Strategy,
    holders: &[Scored],
    random: &mut dyn Rng,
) -> Option<Scored> {
    match strategy {
        Strategy::Weighted => weighted::pick(holders, random),
        _ => pick_best(holders, random),
    }
}

/// The engine with the highest total; of several that are equal, a random one.
fn pick_best(scored: &[Scored], random: &mut dyn Rng) -> Option<Scored> {
    let totals = scored.iter().map(|s| s.total);
    let highest = totals.fold(f64::NEG_INFINITY, f64::max);
    let equals = scored.iter().filter(|s| s.total >= highest - EPSILON);
    equals.choose(random).copied()
}
