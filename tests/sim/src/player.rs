//! Who chooses: the placement service's own chooser with each of its strategies, or one of the two
//! strategies of the system before, on the same snapshots.

use berth_scheduler::accounting::Reservation;
use berth_scheduler::engine::Engine;
use berth_scheduler::strategy::{Strategy, Weights};
use berth_scheduler::{Ask, Chooser, Rules};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use tokio::time::Instant;

/// A strategy that takes part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Player {
    /// Most free memory, CPU for ties, nothing of what has been placed since the probe.
    OldLeastLoad,
    /// One after the other.
    OldRoundRobin,
    /// Ours.
    Ours(Strategy, Weights),
}

impl Player {
    /// Everybody.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let weights = Weights::default();
        let blind = Weights {
            document: 0.0,
            ..weights
        };
        let ours = [
            Strategy::RoundRobin,
            Strategy::Weighted,
            Strategy::Packed,
            Strategy::P2c,
            Strategy::LeastLoad,
        ];
        let mut all = vec![Self::OldLeastLoad, Self::OldRoundRobin];
        all.push(Self::Ours(Strategy::LeastLoad, blind));
        all.extend(ours.map(|strategy| Self::Ours(strategy, weights)));
        all
    }

    /// For the table.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::OldLeastLoad => "before: least load".to_owned(),
            Self::OldRoundRobin => "before: round-robin".to_owned(),
            Self::Ours(strategy, weights) if weights.document <= 0.0 => {
                format!("{}, no affinity", strategy.as_str())
            }
            Self::Ours(strategy, _) => strategy.as_str().to_owned(),
        }
    }

    pub(crate) fn seat(&self, threshold: u32, seed: u64) -> Seat {
        let Self::Ours(strategy, weights) = *self else {
            return Seat::Old {
                least_load: *self == Self::OldLeastLoad,
                threshold,
                turn: 0,
                last: None,
            };
        };
        let rules = Rules {
            strategy,
            threshold: Some(threshold),
            weights,
            ..Rules::default()
        };
        let random = Box::new(StdRng::seed_from_u64(seed));
        Seat::Ours(Box::new(Chooser::new(rules, random)))
    }
}

/// A player at work.
pub(crate) enum Seat {
    Old {
        least_load: bool,
        threshold: u32,
        turn: usize,
        /// What least load took of a snapshot: of the same one it takes the same again.
        last: Option<Taken>,
    },
    Ours(Box<Chooser>),
}

/// A snapshot, and the engine that was taken of it.
pub(crate) type Taken = (Arc<[Arc<Engine>]>, Option<Arc<Engine>>);

/// The place of the chosen engine in the snapshot, and the reservation if this player makes any.
pub(crate) type Chosen = (Arc<Engine>, Option<Reservation>);

impl Seat {
    /// `None`: refused.
    pub(crate) fn choose(
        &mut self,
        engines: &Arc<[Arc<Engine>]>,
        document: &str,
        now: Instant,
    ) -> Option<Chosen> {
        match self {
            Self::Ours(chooser) => {
                let ask = Ask {
                    document: Some(document),
                    tried: &[],
                    now,
                };
                let choice = chooser.choose(engines, &ask).ok()?;
                Some((choice.engine, Some(choice.reservation)))
            }
            Self::Old {
                least_load,
                threshold,
                turn,
                last,
            } => {
                if let Some((of, taken)) = last
                    && Arc::ptr_eq(of, engines)
                {
                    return taken.clone().map(|engine| (engine, None));
                }
                let probed = |engine: &Engine| engine.load.as_ref().and_then(|load| load.sessions);
                let room = |engine: &&Arc<Engine>| probed(engine).unwrap_or(0) < *threshold;
                let chosen = if *least_load {
                    let load = |engine: &Arc<Engine>| {
                        let load = engine.load.as_deref();
                        let free = load.and_then(|l| l.memory).map_or(0.0, |m| m.free);
                        (free, -load.and_then(|l| l.cpu).unwrap_or(0.0))
                    };
                    let open = engines.iter().filter(room);
                    let taken = open.max_by(|a, b| {
                        let (a, b) = (load(a), load(b));
                        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
                    });
                    *last = Some((Arc::clone(engines), taken.cloned()));
                    taken
                } else {
                    let order = engines.iter().cycle().skip(*turn % engines.len().max(1));
                    *turn += 1;
                    order.take(engines.len()).find(room)
                };
                Some((Arc::clone(chosen?), None))
            }
        }
    }
}
