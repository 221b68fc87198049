//! What a session costs its engine in memory and CPU, learned per document from the changes between two probes. An
//! estimate fills the time until a probe shows the real numbers. It is never precise: several placements, and all other
//! work of the engine, share one change of one number.

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use parking_lot::{Mutex, MutexGuard};
use std::ops::{Add, Sub};

/// Weight of the latest observation against all earlier ones.
const RATE: f64 = 0.1;

/// Memory and CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// MB.
    pub memory_mb: f64,
    /// Share of the engine's CPU, 0 to 1.
    pub cpu: f64,
}

impl Cost {
    fn divide_by(self, count: f64) -> Self {
        Self {
            memory_mb: self.memory_mb / count,
            cpu: self.cpu / count,
        }
    }

    fn move_towards(self, observed: Self) -> Self {
        Self {
            memory_mb: self.memory_mb + RATE * (observed.memory_mb - self.memory_mb),
            cpu: self.cpu + RATE * (observed.cpu - self.cpu),
        }
    }

    /// Noise can make a learned cost negative.
    fn non_negative(self) -> Self {
        Self {
            memory_mb: self.memory_mb.max(0.0),
            cpu: self.cpu.max(0.0),
        }
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            memory_mb: self.memory_mb + other.memory_mb,
            cpu: self.cpu + other.cpu,
        }
    }
}

impl Sub for Cost {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            memory_mb: self.memory_mb - other.memory_mb,
            cpu: self.cpu - other.cpu,
        }
    }
}

/// What the cost of a session depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CostKey {
    /// The document that it opens, hashed.
    pub document: Option<u64>,
    /// Whether the engine held it already; if not, the session costs the loading, too.
    pub document_loaded: bool,
}

impl CostKey {
    /// Document and `document_loaded` in one number, which makes the map smaller; the hash can lose one of its bits.
    const fn packed(self) -> Option<u64> {
        match self.document {
            Some(document) => Some(document << 1 | self.document_loaded as u64),
            None => None,
        }
    }
}

/// Learned costs of the sessions on one engine, or on all engines of a pool.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    /// By [`CostKey::packed`], in no order.
    documents: IndexMap<u64, Cost, RandomState>,
    loaded: Option<Cost>,
    not_loaded: Option<Cost>,
}

impl Costs {
    /// What such a session costs; `None` when none was observed.
    #[must_use]
    pub fn estimate(&self, key: CostKey) -> Option<Cost> {
        let cost = self.documents.get(&key.packed()?);
        cost.map(|cost| cost.non_negative())
    }

    /// What a session costs whose document was never observed.
    #[must_use]
    pub fn estimate_any(&self, document_loaded: bool) -> Cost {
        let estimate = if document_loaded {
            self.loaded
        } else {
            self.not_loaded
        };
        estimate.unwrap_or_default().non_negative()
    }

    /// Takes in one observation. At most `max` documents are remembered; a random one makes room for a new one.
    pub fn observe(&mut self, observation: &Observation, max: usize) {
        let Observation { key, cost } = *observation;
        let any_document = if key.document_loaded {
            &mut self.loaded
        } else {
            &mut self.not_loaded
        };
        *any_document = Some(any_document.map_or(cost, |current| current.move_towards(cost)));
        let Some(key) = key.packed() else {
            return;
        };
        if let Some(current) = self.documents.get_mut(&key) {
            *current = current.move_towards(cost);
            return;
        }
        if self.documents.len() >= max {
            self.documents
                .swap_remove_index(random_index(self.documents.len(), key));
        }
        self.documents.insert(key, cost);
    }
}

/// An index below `len`, as random as `key`, which is a hash.
fn random_index(len: usize, key: u64) -> usize {
    let index = key % (len.max(1) as u64);
    usize::try_from(index).unwrap_or(0)
}

/// What sessions cost on the engines of one pool. Shared by the engines' accounting, which learns from probes.
#[derive(Debug, Default)]
pub struct PoolCosts(Mutex<Costs>);

impl PoolCosts {
    /// Documents whose cost is remembered.
    const DOCUMENTS: usize = 4096;

    /// What such a session costs in this pool, as far as is known.
    #[must_use]
    pub fn estimate(&self, key: CostKey) -> Cost {
        let costs = self.lock();
        let estimate = costs.estimate(key);
        estimate.unwrap_or_else(|| costs.estimate_any(key.document_loaded))
    }

    /// Takes in the observations of one probe.
    pub fn observe(&self, observations: &[Observation]) {
        if observations.is_empty() {
            return;
        }
        let mut costs = self.lock();
        for observation in observations {
            costs.observe(observation, Self::DOCUMENTS);
        }
    }

    /// A panic elsewhere leaves consistent numbers behind.
    fn lock(&self) -> MutexGuard<'_, Costs> {
        self.0.lock()
    }
}

/// What one session seems to have cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// What its cost depends on.
    pub key: CostKey,
    /// The cost.
    pub cost: Cost,
}

/// Distributes the change between two probes over the sessions that caused it: each gets its expected cost and an equal
/// part of the difference. Memory that went down shows that a document was unloaded, and nothing about these sessions.
pub fn observations(
    placed: &[(CostKey, Cost)],
    change: Cost,
) -> impl Iterator<Item = Observation> + '_ {
    let expected = placed
        .iter()
        .fold(Cost::default(), |sum, (_, cost)| sum + *cost);
    let mut unexplained = change - expected;
    if change.memory_mb < 0.0 {
        unexplained.memory_mb = 0.0;
    }
    // Far fewer than 2^53.
    #[allow(clippy::cast_precision_loss)]
    let share = unexplained.divide_by(placed.len().max(1) as f64);
    placed.iter().map(move |(key, cost)| Observation {
        key: *key,
        cost: *cost + share,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    const MAX: usize = 8;

    fn truth(key: CostKey) -> Cost {
        let size = key.document.map_or(0.0, |d| 100.0 * (d + 1) as f64);
        Cost {
            memory_mb: 10.0 + if key.document_loaded { 0.0 } else { size },
            cpu: 0.01,
        }
    }

    #[test]
    fn learns_what_each_document_costs_from_sums_with_noise() {
        let mut random = StdRng::seed_from_u64(3);
        let mut costs = Costs::default();
        for _ in 0..4000 {
            let count = random.random_range(1..4);
            let placed: Vec<_> = (0..count)
                .map(|_| {
                    let key = CostKey {
                        document: Some(random.random_range(0..4)),
                        document_loaded: random.random(),
                    };
                    (
                        key,
                        costs
                            .estimate(key)
                            .unwrap_or(costs.estimate_any(key.document_loaded)),
                    )
                })
                .collect();
            let mut observed_total = placed
                .iter()
                .fold(Cost::default(), |s, (k, _)| s + truth(*k));
            observed_total.cpu += random.random_range(-0.02..0.02);
            observed_total.memory_mb += random.random_range(-5.0..5.0);
            for observation in observations(&placed, observed_total) {
                costs.observe(&observation, MAX);
            }
        }
        for document in 0..4 {
            for document_loaded in [true, false] {
                let key = CostKey {
                    document: Some(document),
                    document_loaded,
                };
                let (learned, true_cost) = (costs.estimate(key).unwrap(), truth(key));
                let deviation = (learned.memory_mb - true_cost.memory_mb).abs();
                assert!(
                    deviation < 0.2 * true_cost.memory_mb + 5.0,
                    "{key:?} {learned:?}"
                );
                assert!(
                    (learned.cpu - true_cost.cpu).abs() < 0.01,
                    "{key:?} {learned:?}"
                );
            }
        }
    }

    #[test]
    fn costs_are_bounded_and_never_negative() {
        let mut costs = Costs::default();
        for document in 0..100 {
            let key = CostKey {
                document: Some(document),
                document_loaded: false,
            };
            let cost = Cost {
                memory_mb: -5.0,
                cpu: 0.5,
            };
            costs.observe(&Observation { key, cost }, MAX);
            assert_eq!(costs.estimate(key).unwrap().memory_mb, 0.0);
        }
        assert_eq!(costs.documents.len(), MAX);
        assert!(costs.estimate_any(false).cpu > 0.4);
        assert_eq!(costs.estimate_any(true), Cost::default());
    }

    #[test]
    fn freed_memory_is_no_observation_of_memory() {
        let key = CostKey::default();
        let expected = Cost {
            memory_mb: 50.0,
            cpu: 0.1,
        };
        let observed = Cost {
            memory_mb: -800.0,
            cpu: 0.3,
        };
        let observation = observations(&[(key, expected)], observed).next().unwrap();
        assert_eq!(observation.cost.memory_mb, 50.0);
        assert!((observation.cost.cpu - 0.3).abs() < 1e-9);
    }
}
