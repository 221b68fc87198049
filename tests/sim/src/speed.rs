//! How fast the default strategy decides on one core, and what an engine costs in memory: choices with
//! documents on a fleet that is probed, grows and shrinks meanwhile. Only the choices are timed, with the
//! taking over of new snapshots in them; making engines and snapshots is not.

use crate::fleet::name;
use crate::random::{Random, Zipf};
use berth_placement::config::{Strategy, Weights};
use berth_placement::engine::{Engine, Load, Memory, State};
use berth_placement::placement::{Ask, Chooser, Rules};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Virtual decisions a second: more than a service makes, so that probes are as many as they would be.
const RATE: u32 = 50_000;
/// Decisions between two looks at the clock.
const BATCH: u32 = 1000;
/// Sessions per engine.
const SESSIONS: u32 = 50;
/// Documents in an engine's memory.
const DOCUMENTS: u32 = 30;
const PROBE_S: f64 = 10.0;
const PAGE: u64 = 4096;

/// What was measured on one fleet.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Its size.
    pub engines: u32,
    /// On one core.
    pub decisions_per_s: f64,
    /// Of resident memory, engines, books, snapshot and chooser together.
    pub bytes_per_engine: u64,
}

/// Measures for about as long as told.
#[must_use]
pub fn measure(engines: u32, strategy: Strategy, length: Duration, seed: u64) -> Speed {
    let mut random = Random::seeded(seed);
    let zipf = Zipf::new(20 * engines);
    let names: Vec<String> = (0..65_536).map(|_| name(zipf.draw(&mut random))).collect();
    let before = resident();
    let mut world = World::new(engines, &zipf, random);
    let rules = Rules {
        strategy,
        threshold: Some(10 * SESSIONS),
        weights: Weights::default(),
        ..Rules::default()
    };
    let chooser = Chooser::new(rules, Box::new(StdRng::seed_from_u64(seed)));
    let mut names_in_turn = names.iter().cycle();
    let mut chosen = Vec::with_capacity(BATCH as usize);
    let (mut decisions, mut took, mut warm) = (0_u32, Duration::ZERO, false);
    while took < length {
        let began = std::time::Instant::now();
        for _ in 0..BATCH {
            world.now += Duration::from_secs(1) / RATE;
            let ask = Ask {
                document: names_in_turn.next().map(String::as_str),
                tried: &[],
                now: world.now,
            };
            if let Ok(choice) = chooser.choose(&world.snapshot, &ask) {
                decisions += 1;
                choice.reservation.placed(world.now);
                chosen.push(choice.engine);
            }
        }
        took += began.elapsed();
        world.go_on(&mut chosen);
        if !warm && decisions > 20 * BATCH {
            (decisions, took, warm) = (0, Duration::ZERO, true);
        }
    }
    let grown = resident().saturating_sub(before);
    Speed {
        engines,
        decisions_per_s: f64::from(decisions) / took.as_secs_f64(),
        bytes_per_engine: grown / u64::from(engines),
    }
}

/// The fleet around the chooser.
struct World {
    now: Instant,
    known: Vec<Arc<Engine>>,
    snapshot: Arc<[Arc<Engine>]>,
    sessions: Vec<u32>,
    /// Where the sessions are, the oldest first.
    ends: VecDeque<u32>,
    documents: Vec<Vec<String>>,
    next_probe: usize,
    owed_probes: f64,
    random: Random,
}

impl World {
    fn new(engines: u32, zipf: &Zipf, mut random: Random) -> Self {
        let known: Vec<_> = (0..engines)
            .map(|n| Arc::new(crate::run::engine(n)))
            .collect();
        let mut list = |_| {
            (0..DOCUMENTS)
                .map(|_| name(zipf.draw(&mut random)))
                .collect()
        };
        let documents = (0..engines).map(&mut list).collect();
        let mut world = Self {
            now: Instant::now(),
            snapshot: known.iter().cloned().collect(),
            sessions: vec![SESSIONS; engines as usize],
            ends: (0..SESSIONS).flat_map(|_| 0..engines).collect(),
            documents,
            next_probe: 0,
            owed_probes: 0.0,
            known,
            random,
        };
        for place in 0..world.known.len() {
            world.probe(place);
        }
        world.snapshot = world.known.iter().cloned().collect();
        world
    }

    /// The sessions that were just placed open, as many old ones close, and engines are probed.
    fn go_on(&mut self, chosen: &mut Vec<Arc<Engine>>) {
        for engine in chosen.drain(..) {
            let place = crate::run::number(&engine);
            self.ends.push_back(place);
            if let Some(count) = self.sessions.get_mut(place as usize) {
                *count += 1;
            }
            let ended = self.ends.pop_front().unwrap_or(0);
            if let Some(count) = self.sessions.get_mut(ended as usize) {
                *count -= 1;
            }
        }
        self.owed_probes += self.known.len() as f64 / PROBE_S * f64::from(BATCH) / f64::from(RATE);
        while self.owed_probes >= 1.0 {
            self.owed_probes -= 1.0;
            self.next_probe = (self.next_probe + 1) % self.known.len();
            self.probe(self.next_probe);
        }
        self.snapshot = self.known.iter().cloned().collect();
    }

    fn probe(&mut self, place: usize) {
        let (Some(known), Some(sessions), Some(documents)) = (
            self.known.get_mut(place),
            self.sessions.get(place),
            self.documents.get(place),
        ) else {
            return;
        };
        let mut engine = Engine::clone(known);
        engine.state = State::Ok;
        let load = Load {
            sessions: Some(*sessions),
            memory: Some(Memory {
                committed: 20_000.0 + 1000.0 * self.random.unit(),
                free: 80_000.0,
            }),
            cpu: Some(0.4 + 0.1 * self.random.unit()),
            saturated: false,
            documents: documents.clone(),
        };
        engine.tally.measured(self.now, &load);
        engine.tally.probed(self.now, *sessions);
        engine.load = Some(Arc::new(load));
        *known = Arc::new(engine);
    }
}

/// Resident memory of this process, bytes (proc(5), `statm`).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1);
    pages.and_then(|p| p.parse::<u64>().ok()).unwrap_or(0) * PAGE
}
