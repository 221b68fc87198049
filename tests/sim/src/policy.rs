//! The placement policies that are compared: Berth's scheduler with each of its strategies, and the two strategies of the
//! stack that Berth replaces, on the same snapshots.

use berth_scheduler::accounting::Reservation;
use berth_scheduler::engine::Engine;
use berth_scheduler::strategy::{Strategy, Weights};
use berth_scheduler::{Rules, Scheduler, SchedulingRequest};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use tokio::time::Instant;

/// A policy that takes part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// The engine with the most free memory, then with the least CPU; ignores what was placed since the probe.
    NaiveLeastLoad,
    /// One engine after the other.
    NaiveRoundRobin,
    /// Berth's scheduler.
    Berth(Strategy, Weights),
}

impl Policy {
    /// All policies.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let weights = Weights::default();
        let without_metrics = Weights {
            document: 0.0,
            ..weights
        };
        let berth_policies = [
            Strategy::RoundRobin,
            Strategy::Weighted,
            Strategy::Packed,
            Strategy::P2c,
            Strategy::LeastLoad,
        ];
        let mut all = vec![Self::NaiveLeastLoad, Self::NaiveRoundRobin];
        all.push(Self::Berth(Strategy::LeastLoad, without_metrics));
        all.extend(berth_policies.map(|strategy| Self::Berth(strategy, weights)));
        all
    }

    /// The name in the tables.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::NaiveLeastLoad => "before: least load".to_owned(),
            Self::NaiveRoundRobin => "before: round-robin".to_owned(),
            Self::Berth(strategy, weights) if weights.document <= 0.0 => {
                format!("{}, no affinity", strategy.as_str())
            }
            Self::Berth(strategy, _) => strategy.as_str().to_owned(),
        }
    }

    pub(crate) fn start(&self, threshold: u32, seed: u64) -> PolicyRun {
        let Self::Berth(strategy, weights) = *self else {
            return PolicyRun::Naive {
                least_load: *self == Self::NaiveLeastLoad,
                threshold,
                turn: 0,
                last: None,
            };
        };
        let rules = Rules {
            strategy,
            per_engine: Some(threshold),
            weights,
            ..Rules::default()
        };
        let random = Box::new(StdRng::seed_from_u64(seed));
        PolicyRun::Berth(Box::new(Scheduler::new(rules, random)))
    }
}

/// A policy with its state.
pub(crate) enum PolicyRun {
    Naive {
        least_load: bool,
        threshold: u32,
        turn: usize,
        /// The engine that least load took from a snapshot: it takes the same one until the next snapshot.
        last: Option<Taken>,
    },
    Berth(Box<Scheduler>),
}

/// A snapshot, and the engine that was taken from it.
pub(crate) type Taken = (Arc<[Arc<Engine>]>, Option<Arc<Engine>>);

/// The chosen engine, and its reservation if the policy makes one.
pub(crate) type Chosen = (Arc<Engine>, Option<Reservation>);

impl PolicyRun {
    /// `None`: refused.
    pub(crate) fn choose(
        &mut self,
        engines: &Arc<[Arc<Engine>]>,
        document: &str,
        now: Instant,
    ) -> Option<Chosen> {
        match self {
            Self::Berth(scheduler) => {
                let request = SchedulingRequest {
                    document_weight: None,
                    document: Some(document),
                    tried: &[],
                    now,
                };
                let selection = scheduler.select(engines, &request).ok()?;
                Some((selection.engine, Some(selection.reservation)))
            }
            Self::Naive {
                least_load,
                threshold,
                turn,
                last,
            } => {
                if let Some((last_engines, last_choice)) = last
                    && Arc::ptr_eq(last_engines, engines)
                {
                    return last_choice.clone().map(|engine| (engine, None));
                }
                let probed_sessions =
                    |engine: &Engine| engine.load.as_ref().and_then(|load| load.sessions);
                let has_capacity =
                    |engine: &&Arc<Engine>| probed_sessions(engine).unwrap_or(0) < *threshold;
                let selected = if *least_load {
                    let load = |engine: &Arc<Engine>| {
                        let load = engine.load.as_deref();
                        let free_mb = load.and_then(|l| l.memory).map_or(0.0, |m| m.free);
                        (free_mb, -load.and_then(|l| l.cpu).unwrap_or(0.0))
                    };
                    let candidates = engines.iter().filter(has_capacity);
                    let best = candidates.max_by(|a, b| {
                        let (load_a, load_b) = (load(a), load(b));
                        load_a
                            .0
                            .total_cmp(&load_b.0)
                            .then(load_a.1.total_cmp(&load_b.1))
                    });
                    *last = Some((Arc::clone(engines), best.cloned()));
                    best
                } else {
                    let order = engines.iter().cycle().skip(*turn % engines.len().max(1));
                    *turn += 1;
                    order.take(engines.len()).find(has_capacity)
                };
                Some((Arc::clone(selected?), None))
            }
        }
    }
}
