//! The score of each number of an engine, 0 (nothing left) to 1 (idle). A score reads one number and knows no
//! strategy; the weights come from the pool's configuration.

use super::candidate::{Candidate, PoolBaseline, memory_score};

/// One score with its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// What it reads.
    pub name: &'static str,
    /// 0 to 1.
    pub value: f64,
    /// Relative to the other weights.
    pub weight: f64,
}

/// The scores of one engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores([Score; 3]);

impl Scores {
    const NONE: Score = Score {
        name: "",
        value: 0.0,
        weight: 0.0,
    };

    /// For a strategy that reads one number.
    pub(super) const fn single(name: &'static str, value: f64) -> Self {
        let score = Score {
            name,
            value,
            weight: 1.0,
        };
        Self([score, Self::NONE, Self::NONE])
    }

    /// For a strategy that weighs three numbers.
    pub(super) const fn weighted(scores: [Score; 3]) -> Self {
        Self(scores)
    }

    /// Those with a weight.
    pub fn iter(&self) -> impl Iterator<Item = Score> + '_ {
        self.0.iter().copied().filter(|score| score.weight > 0.0)
    }

    /// Their weighted mean, 0 to 1.
    #[must_use]
    #[inline]
    pub fn total(&self) -> f64 {
        let [first, second, third] = self.0;
        let weights = first.weight + second.weight + third.weight;
        if weights > 0.0 {
            (first.value * first.weight + second.value * second.weight + third.value * third.weight)
                / weights
        } else {
            0.0
        }
    }
}

/// Sessions against the pool's mean: 1/2 at the mean, 1/3 at twice the mean. It never reaches 0, so that two very full
/// engines still have different scores.
pub(super) fn sessions(candidate: &Candidate, baseline: &PoolBaseline) -> f64 {
    baseline.sessions / (baseline.sessions + f64::from(candidate.sessions))
}

/// Free memory, with what was placed since the probe; the pool's mean when the engine does not report it.
pub(super) fn memory(candidate: &Candidate, baseline: &PoolBaseline) -> f64 {
    candidate.memory.map_or(baseline.memory, memory_score)
}

/// Free CPU, with what was placed since the probe; the pool's mean when the engine does not report it.
pub(super) fn cpu(candidate: &Candidate, baseline: &PoolBaseline) -> f64 {
    candidate.cpu.unwrap_or(baseline.cpu)
}
