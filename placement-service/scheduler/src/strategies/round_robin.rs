//! Each in turn: the one that was chosen longest ago. An engine that comes back takes one turn, not the
//! turns that it missed.

use crate::candidate::{Facts, Scale};
use crate::score::Scores;

/// 0: it had the last turn. 1/2: everybody else has had one since.
#[allow(clippy::cast_precision_loss, reason = "turns below 2^53")]
pub(crate) fn scores(facts: &Facts, scale: &Scale) -> Scores {
    let ago = scale.turn.saturating_sub(facts.turn) as f64;
    let round = f64::from(scale.engines.max(1));
    Scores::one("turn", ago / (ago + round))
}

/// Orders engines as `scores` does, whatever the turn is.
#[allow(clippy::cast_precision_loss, reason = "turns below 2^53")]
pub(crate) fn key(facts: &Facts) -> f64 {
    -(facts.turn as f64)
}
