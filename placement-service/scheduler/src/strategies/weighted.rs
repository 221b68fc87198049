//! At random, with a probability proportional to the free capacity: the maximum number of sessions per engine minus
//! its sessions. An engine without free capacity is not a candidate.

use super::Scored;
use crate::candidate::Candidate;
use crate::score::Scores;
use rand::Rng;
use rand::seq::IndexedRandom;

/// `threshold`: the maximum number of sessions per engine. The configuration is checked to have one; without it, all
/// engines have the same probability.
pub(crate) fn scores(candidate: &Candidate, threshold: Option<u32>) -> Scores {
    let free_share = threshold.map_or(1.0, |max| {
        f64::from(max.saturating_sub(candidate.sessions)) / f64::from(max.max(1))
    });
    Scores::single("capacity", free_share)
}

pub(crate) fn pick(scored: &[Scored], random: &mut dyn Rng) -> Option<Scored> {
    scored.choose_weighted(random, |s| s.total).ok().copied()
}
