//! How fast the default strategy decides on one core, and what an engine costs in memory: choices with
//! documents, on a fleet that is probed and whose sessions open and close meanwhile. Timed are the choices,
//! each with its reservation and the entry under its stream's name, and the taking over of new snapshots;
//! not timed is what the fleet's watcher and the gateways' reports do.

use crate::fleet::name;
use crate::random::{Random, Zipf};
use crate::run::{engine, place_of};
use berth_scheduler::engine::{Engine, Load, Memory};
use berth_scheduler::strategy::{Strategy, Weights};
use berth_scheduler::{Ask, Chooser, Rules};
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
/// Decisions that are not measured.
const WARM_UP: u32 = 20 * BATCH;
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
}

/// Bytes of resident memory that an engine takes, in books, snapshot and chooser together, with the names
/// of its documents and without sessions. Right in a process that has freed nothing before.
#[must_use]
pub fn memory(engines: u32, seed: u64) -> u64 {
    let (documents, _) = documents(engines, seed);
    let before = resident();
    let world = World::new(documents, Random::seeded(seed));
    let chooser = chooser(Strategy::default(), seed);
    let ask = Ask {
        document: None,
        tried: &[],
        now: world.now,
    };
    let reserved = chooser.choose(&world.snapshot, &ask);
    let grown = resident().saturating_sub(before);
    drop(reserved);
    grown / u64::from(engines)
}

/// Measures for about as long as told.
#[must_use]
pub fn measure(engines: u32, strategy: Strategy, length: Duration, seed: u64) -> Speed {
    let (documents, asked) = documents(engines, seed);
    let mut asked = asked.iter().cycle();
    let mut world = World::new(documents, Random::seeded(seed));
    let chooser = chooser(strategy, seed);
    let mut streams = 0_u64;
    let mut chosen = Vec::with_capacity(BATCH as usize);
    let (mut decisions, mut took, mut warm) = (0_u32, Duration::ZERO, false);
    while took < length {
        let names: Vec<String> = (0..BATCH).map(|n| stream(streams + u64::from(n))).collect();
        streams += u64::from(BATCH);
        let began = std::time::Instant::now();
        for stream in names {
            world.now += Duration::from_secs(1) / RATE;
            let ask = Ask {
                document: asked.next().map(String::as_str),
                tried: &[],
                now: world.now,
            };
            // A refusal is no decision.
            if let Ok(choice) = chooser.choose(&world.snapshot, &ask) {
                choice.reservation.placed(&stream, world.now);
                chosen.push((choice.engine, stream));
            }
        }
        took += began.elapsed();
        decisions += u32::try_from(chosen.len()).unwrap_or(0);
        world.go_on(&mut chosen);
        if !warm && decisions >= WARM_UP {
            (decisions, took, warm) = (0, Duration::ZERO, true);
        }
    }
    Speed {
        engines,
        decisions_per_s: f64::from(decisions) / took.as_secs_f64(),
    }
}

fn stream(number: u64) -> String {
    format!("{number:016x}")
}

fn chooser(strategy: Strategy, seed: u64) -> Chooser {
    let rules = Rules {
        strategy,
        threshold: Some(10 * SESSIONS),
        weights: Weights::default(),
        ..Rules::default()
    };
    Chooser::new(rules, Box::new(StdRng::seed_from_u64(seed)))
}

/// The documents in each engine's memory, and those that sessions ask for.
fn documents(engines: u32, seed: u64) -> (Vec<Vec<String>>, Vec<String>) {
    let mut random = Random::seeded(seed);
    let zipf = Zipf::new(20 * engines);
    let mut names = |count| (0..count).map(|_| name(zipf.draw(&mut random))).collect();
    let held = (0..engines).map(|_| names(DOCUMENTS)).collect();
    (held, names(65_536))
}

/// The fleet around the chooser.
struct World {
    now: Instant,
    known: Vec<Arc<Engine>>,
    snapshot: Arc<[Arc<Engine>]>,
    sessions: Vec<u32>,
    /// Where the sessions are, the oldest first, and their streams if gateways know them.
    ends: VecDeque<(u32, Option<String>)>,
    documents: Vec<Vec<String>>,
    next_probe: usize,
    owed_probes: f64,
    random: Random,
}

impl World {
    fn new(documents: Vec<Vec<String>>, random: Random) -> Self {
        let engines = u32::try_from(documents.len()).unwrap_or(0);
        let known: Vec<_> = (0..engines).map(|n| Arc::new(engine(n))).collect();
        let mut world = Self {
            now: Instant::now(),
            snapshot: Arc::from([]),
            sessions: vec![SESSIONS; documents.len()],
            ends: VecDeque::new(),
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
    fn go_on(&mut self, chosen: &mut Vec<(Arc<Engine>, String)>) {
        if self.ends.is_empty() {
            let engines = 0..u32::try_from(self.known.len()).unwrap_or(0);
            let all = (0..SESSIONS).flat_map(|_| engines.clone());
            self.ends = all.map(|place| (place, None)).collect();
        }
        for (engine, stream) in chosen.drain(..) {
            let place = place_of(&engine);
            engine.tally.opened(&stream, &stream, self.now);
            self.ends.push_back((place, Some(stream)));
            if let Some(count) = self.sessions.get_mut(place as usize) {
                *count += 1;
            }
            let Some((ended, stream)) = self.ends.pop_front() else {
                continue;
            };
            if let (Some(known), Some(stream)) = (self.known.get(ended as usize), stream) {
                known.tally.closed(&stream, Duration::MAX, self.now);
            }
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
