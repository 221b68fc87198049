//! Power of two choices: the better of two random engines, by the scores of least-load. It is nearly as even, and
//! several replicas that choose at the same time do not all choose the same engine.

use super::Scored;
use rand::Rng;
use rand::seq::IndexedRandom;

pub(crate) fn pick(scored: &[Scored], random: &mut dyn Rng) -> Option<Scored> {
    let pair = scored.sample(random, 2);
    pair.copied().max_by(|a, b| a.total.total_cmp(&b.total))
}
