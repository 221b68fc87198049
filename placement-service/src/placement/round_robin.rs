//! Each in turn: the one that was chosen longest ago. An engine that comes back takes one turn, not the
//! turns that it missed.

use super::{Candidate, Candidates};

pub(super) fn pick<'a>(candidates: &Candidates<'a>) -> Candidate<'a> {
    candidates
        .iter()
        .min_by_key(|c| c.turn)
        .unwrap_or(candidates.first())
}
