//! The engine with the most headroom: sessions, memory and CPU, each by its weight. A sum, not a ranking
//! by one number after the other: with free memory first and the rest for ties, every session of an
//! interval goes to the same engine. Sessions count from the moment of the choice, so each choice lowers
//! the score of its engine.

use crate::candidate::{Facts, Scale};
use crate::score::{self, Score, Scores};
use crate::strategy::Weights;

pub(crate) fn scores(facts: &Facts, scale: &Scale, weights: &Weights) -> Scores {
    Scores::three([
        Score {
            name: "sessions",
            value: score::sessions(facts, scale),
            weight: weights.sessions,
        },
        Score {
            name: "memory",
            value: score::memory(facts, scale),
            weight: weights.memory,
        },
        Score {
            name: "cpu",
            value: score::cpu(facts, scale),
            weight: weights.cpu,
        },
    ])
}
