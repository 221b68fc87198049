//! Each engine in turn: the one that was chosen longest ago. An engine that comes back gets one turn, not all the turns
//! that it missed.

use crate::candidate::{Candidate, PoolBaseline};
use crate::score::Scores;

/// 0: it had the last turn. 1/2: every other engine has had a turn since.
#[allow(clippy::cast_precision_loss, reason = "turns below 2^53")]
pub(crate) fn scores(candidate: &Candidate, baseline: &PoolBaseline) -> Scores {
    let ago = baseline.turn.saturating_sub(candidate.turn) as f64;
    let round_len = f64::from(baseline.engines.max(1));
    Scores::single("turn", ago / (ago + round_len))
}
