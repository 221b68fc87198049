//! The engine with the most headroom: a weighted sum of sessions, memory and CPU. It is not a ranking by one number
//! after the other: with free memory first and the others for ties, all sessions between two probes would go to the
//! same engine. Sessions count from the moment of the decision, so each decision lowers the score of its engine.

use crate::candidate::{Candidate, PoolBaseline};
use crate::score::{self, Score, Scores};
use crate::strategy::Weights;

#[inline]
pub(crate) fn scores(candidate: &Candidate, baseline: &PoolBaseline, weights: &Weights) -> Scores {
    Scores::weighted([
        Score {
            name: "sessions",
            value: score::sessions(candidate, baseline),
            weight: weights.sessions,
        },
        Score {
            name: "memory",
            value: score::memory(candidate, baseline),
            weight: weights.memory,
        },
        Score {
            name: "cpu",
            value: score::cpu(candidate, baseline),
            weight: weights.cpu,
        },
    ])
}
