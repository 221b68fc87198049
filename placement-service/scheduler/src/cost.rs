//! What a session costs its engine, learned per document from what the engine's numbers do after sessions
//! were placed there. A prediction fills the time until a probe shows the truth; it is never precise, as
//! several placements and all that runs on the engine anyway share one change in one number.

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How much the latest lesson counts against all before.
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
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            memory_mb: self.memory_mb + other.memory_mb,
            cpu: self.cpu + other.cpu,
        }
    }

    /// What is left without the other.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            memory_mb: self.memory_mb - other.memory_mb,
            cpu: self.cpu - other.cpu,
        }
    }

    fn over(self, count: f64) -> Self {
        Self {
            memory_mb: self.memory_mb / count,
            cpu: self.cpu / count,
        }
    }

    fn towards(self, seen: Self) -> Self {
        Self {
            memory_mb: self.memory_mb + RATE * (seen.memory_mb - self.memory_mb),
            cpu: self.cpu + RATE * (seen.cpu - self.cpu),
        }
    }

    /// Noise may have taught less than nothing.
    fn at_least_nothing(self) -> Self {
        Self {
            memory_mb: self.memory_mb.max(0.0),
            cpu: self.cpu.max(0.0),
        }
    }
}

/// What kind of session it is, as far as its cost goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// The document that it opens, hashed.
    pub document: Option<u64>,
    /// Whether the engine held it already; if not, the session costs the loading too.
    pub held: bool,
}

impl Kind {
    /// One number for document and `held`, as a look-up reads many of them; a hash can do without one of its bits.
    const fn key(self) -> Option<u64> {
        match self.document {
            Some(document) => Some(document << 1 | self.held as u64),
            None => None,
        }
    }
}

/// What was learned of sessions on one engine, or on all of a pool.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    /// By [`Kind::key`], in no order.
    documents: IndexMap<u64, Cost, RandomState>,
    held: Option<Cost>,
    not_held: Option<Cost>,
}

impl Costs {
    /// What a session of this kind cost here so far; `None` when there was none.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<Cost> {
        let cost = self.documents.get(&kind.key()?);
        cost.map(|cost| cost.at_least_nothing())
    }

    /// What a session costs whose document is not known here.
    #[must_use]
    pub fn of_any(&self, held: bool) -> Cost {
        let known = if held { self.held } else { self.not_held };
        known.unwrap_or_default().at_least_nothing()
    }

    /// A session of this kind seems to have cost so much. Of documents `most` are remembered.
    pub fn learn(&mut self, lesson: &Lesson, most: usize) {
        let Lesson { kind, cost } = *lesson;
        let any = if kind.held {
            &mut self.held
        } else {
            &mut self.not_held
        };
        *any = Some(any.map_or(cost, |known| known.towards(cost)));
        let Some(key) = kind.key() else {
            return;
        };
        if let Some(known) = self.documents.get_mut(&key) {
            *known = known.towards(cost);
            return;
        }
        if self.documents.len() >= most {
            self.documents
                .swap_remove_index(any_of(self.documents.len(), key));
        }
        self.documents.insert(key, cost);
    }
}

/// One of so many places, as good as any other: `key` is a hash.
fn any_of(places: usize, key: u64) -> usize {
    let place = key % (places.max(1) as u64);
    usize::try_from(place).unwrap_or(0)
}

/// What sessions cost on the engines of one pool. Shared by the engines' accounting, which learns from probes.
#[derive(Debug, Default)]
pub struct PoolCosts(Mutex<Costs>);

impl PoolCosts {
    /// Documents whose cost is remembered.
    const DOCUMENTS: usize = 4096;

    /// What a session of this kind costs in this pool, as far as is known.
    #[must_use]
    pub fn guess(&self, kind: Kind) -> Cost {
        let costs = self.costs();
        costs.of(kind).unwrap_or_else(|| costs.of_any(kind.held))
    }

    /// Takes in what a probe has shown.
    pub fn learn(&self, lessons: &[Lesson]) {
        let mut costs = self.costs();
        for lesson in lessons {
            costs.learn(lesson, Self::DOCUMENTS);
        }
    }

    /// A panic elsewhere leaves whole numbers behind.
    fn costs(&self) -> MutexGuard<'_, Costs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one placement has taught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lesson {
    /// Of which kind the session was.
    pub kind: Kind,
    /// What it seems to have cost.
    pub cost: Cost,
}

/// Shares what was seen among the placements that it came from: to each what was expected of it, and an
/// equal part of the rest. Memory that went down tells of a document that was unloaded, nothing of these.
pub fn lessons(placed: &[(Kind, Cost)], seen: Cost) -> impl Iterator<Item = Lesson> + '_ {
    let expected = placed
        .iter()
        .fold(Cost::default(), |sum, (_, cost)| sum.plus(*cost));
    let mut rest = seen.minus(expected);
    if seen.memory_mb < 0.0 {
        rest.memory_mb = 0.0;
    }
    // Far fewer than 2^53.
    #[allow(clippy::cast_precision_loss)]
    let each = rest.over(placed.len().max(1) as f64);
    placed.iter().map(move |(kind, cost)| Lesson {
        kind: *kind,
        cost: cost.plus(each),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    const MOST: usize = 8;

    fn truth(kind: Kind) -> Cost {
        let size = kind.document.map_or(0.0, |d| 100.0 * (d + 1) as f64);
        Cost {
            memory_mb: 10.0 + if kind.held { 0.0 } else { size },
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
                    let kind = Kind {
                        document: Some(random.random_range(0..4)),
                        held: random.random(),
                    };
                    (kind, costs.of(kind).unwrap_or(costs.of_any(kind.held)))
                })
                .collect();
            let mut seen = placed
                .iter()
                .fold(Cost::default(), |s, (k, _)| s.plus(truth(*k)));
            seen.cpu += random.random_range(-0.02..0.02);
            seen.memory_mb += random.random_range(-5.0..5.0);
            for lesson in lessons(&placed, seen) {
                costs.learn(&lesson, MOST);
            }
        }
        for document in 0..4 {
            for held in [true, false] {
                let kind = Kind {
                    document: Some(document),
                    held,
                };
                let (learned, truth) = (costs.of(kind).unwrap(), truth(kind));
                let off = (learned.memory_mb - truth.memory_mb).abs();
                assert!(off < 0.2 * truth.memory_mb + 5.0, "{kind:?} {learned:?}");
                assert!(
                    (learned.cpu - truth.cpu).abs() < 0.01,
                    "{kind:?} {learned:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_below_nothing() {
        let mut costs = Costs::default();
        for document in 0..100 {
            let kind = Kind {
                document: Some(document),
                held: false,
            };
            let cost = Cost {
                memory_mb: -5.0,
                cpu: 0.5,
            };
            costs.learn(&Lesson { kind, cost }, MOST);
            assert_eq!(costs.of(kind).unwrap().memory_mb, 0.0);
        }
        assert_eq!(costs.documents.len(), MOST);
        assert!(costs.of_any(false).cpu > 0.4);
        assert_eq!(costs.of_any(true), Cost::default());
    }

    #[test]
    fn memory_that_went_down_teaches_nothing_of_memory() {
        let kind = Kind::default();
        let expected = Cost {
            memory_mb: 50.0,
            cpu: 0.1,
        };
        let seen = Cost {
            memory_mb: -800.0,
            cpu: 0.3,
        };
        let lesson = lessons(&[(kind, expected)], seen).next().unwrap();
        assert_eq!(lesson.cost.memory_mb, 50.0);
        assert!((lesson.cost.cpu - 0.3).abs() < 1e-9);
    }
}
