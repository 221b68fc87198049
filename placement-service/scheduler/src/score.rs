//! What each number of an engine is worth, 0 (nothing left) to 1 (idle). A score looks at one number and
//! knows no strategy; the weights are the strategy's and the pool's.

use super::candidate::{Facts, Scale, ample};

/// One number's worth in a choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// What it looks at.
    pub name: &'static str,
    /// 0 to 1.
    pub value: f64,
    /// What it counts, beside the others.
    pub weight: f64,
}

/// The scores that make up a strategy's own verdict on one engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores([Score; 3]);

impl Scores {
    const NONE: Score = Score {
        name: "",
        value: 0.0,
        weight: 0.0,
    };

    /// A strategy that looks at one thing.
    pub(super) const fn one(name: &'static str, value: f64) -> Self {
        let score = Score {
            name,
            value,
            weight: 1.0,
        };
        Self([score, Self::NONE, Self::NONE])
    }

    /// A strategy that weighs three.
    pub(super) const fn three(scores: [Score; 3]) -> Self {
        Self(scores)
    }

    /// Those that count.
    pub fn iter(&self) -> impl Iterator<Item = Score> + '_ {
        self.0.iter().copied().filter(|score| score.weight > 0.0)
    }

    /// Their weighted mean, 0 to 1.
    #[must_use]
    pub fn total(&self) -> f64 {
        let [a, b, c] = self.0;
        let weights = a.weight + b.weight + c.weight;
        if weights > 0.0 {
            (a.value * a.weight + b.value * b.weight + c.value * c.weight) / weights
        } else {
            0.0
        }
    }
}

/// Sessions against the pool's mean: 1/2 at the mean, a third at twice the mean. It never reaches 0, so
/// that the fuller of two full engines is always told.
pub(super) fn sessions(facts: &Facts, scale: &Scale) -> f64 {
    scale.sessions / (scale.sessions + f64::from(facts.sessions))
}

/// Free memory, with what has been placed since the probe; the pool's mean when the engine does not say.
pub(super) fn memory(facts: &Facts, scale: &Scale) -> f64 {
    facts.memory.map_or(scale.memory, ample)
}

/// Free CPU, with what has been placed since the probe; the pool's mean when the engine does not say.
pub(super) fn cpu(facts: &Facts, scale: &Scale) -> f64 {
    facts.cpu.unwrap_or(scale.cpu)
}
