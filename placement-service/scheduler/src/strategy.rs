//! The names of the strategies and the weights of the scores, as a pool's configuration has them.

use serde::Deserialize;

/// How an engine is picked among the eligible ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    RoundRobin,
    #[default]
    LeastLoad,
    /// Probability proportional to `session_threshold - sessions`; needs the threshold.
    Weighted,
    /// The first engine is filled before the second; needs the threshold.
    Packed,
    /// The better of two at random, by the scores of least-load.
    P2c,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 5] = [
        Self::LeastLoad,
        Self::P2c,
        Self::RoundRobin,
        Self::Weighted,
        Self::Packed,
    ];

    /// The constant for logs and answers, as in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastLoad => "least-load",
            Self::Weighted => "weighted",
            Self::Packed => "packed",
            Self::P2c => "p2c",
        }
    }
}

/// The weights of the scores, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// Of least-load and p2c.
    pub sessions: f64,
    /// Of least-load and p2c.
    pub memory: f64,
    /// Of least-load and p2c.
    pub cpu: f64,
    /// An engine that holds the document is preferred when its total is lower by at most this.
    pub document: f64,
}

impl Default for Weights {
    /// The best weights in `make sim`: the load is even within a tenth, and most documents are loaded once.
    fn default() -> Self {
        Self {
            sessions: 0.5,
            memory: 0.3,
            cpu: 0.2,
            document: 0.0125,
        }
    }
}
