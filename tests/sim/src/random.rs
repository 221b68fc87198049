//! The distributions of the workload, from uniform numbers.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A seeded random source.
pub(crate) struct Random(pub(crate) StdRng);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Greater than 0, at most 1.
    pub(crate) fn unit(&mut self) -> f64 {
        1.0 - self.0.random::<f64>()
    }

    /// The time between two events of a Poisson process with `rate` events per second.
    pub(crate) fn exponential(&mut self, rate: f64) -> f64 {
        -self.unit().ln() / rate
    }

    /// Pareto with the exponent 1.5: most values are small, a few very large. `mean` is the mean before the cut at 50
    /// times the mean.
    pub(crate) fn heavy_tailed(&mut self, mean: f64) -> f64 {
        (mean / 3.0 * self.unit().powf(-1.0 / 1.5)).min(50.0 * mean)
    }

    /// Log-normal; two thirds of the values are within a factor of e from the median.
    pub(crate) fn log_normal(&mut self, median: f64) -> f64 {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        median * normal.exp()
    }
}

/// Ranks 0, 1, 2, ... with probabilities proportional to 1, 1/2, 1/3, ... (Zipf with the exponent 1).
pub(crate) struct Zipf(Vec<f64>);

impl Zipf {
    pub(crate) fn new(ranks: u32) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=ranks).map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        });
        Self(cumulative.collect())
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        let all = self.0.last().copied().unwrap_or(0.0);
        let ticket = random.unit() * all;
        let rank = self.0.partition_point(|sum| *sum < ticket);
        u32::try_from(rank.min(self.0.len().saturating_sub(1))).unwrap_or(0)
    }
}
