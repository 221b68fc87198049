//! At random, with a probability proportional to the room that is left: threshold minus sessions minus
//! reservations. Engines without room are not among the candidates.

use super::{Candidate, Candidates};
use rand::{Rng, RngExt};

/// `threshold`: sessions per engine at the most. Configuration checks that there is one; without, all
/// have the same chance.
pub(super) fn pick<'a>(
    candidates: &Candidates<'a>,
    threshold: Option<u32>,
    random: &mut dyn Rng,
) -> Candidate<'a> {
    let room = |c: &Candidate<'_>| u64::from(threshold.map_or(1, |t| t.saturating_sub(c.sessions)));
    let all: u64 = candidates.iter().map(|c| room(&c)).sum();
    if all == 0 {
        return candidates.first();
    }
    let mut ticket = random.random_range(0..all);
    for candidate in candidates.iter() {
        match ticket.checked_sub(room(&candidate)) {
            Some(left) => ticket = left,
            None => return candidate,
        }
    }
    candidates.first()
}
