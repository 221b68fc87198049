//! Measures how fast the scheduler decides on one core, and how much memory an engine takes. The decisions are for
//! documents, on a fleet that is probed and whose sessions open and close meanwhile. The time includes the decisions with
//! their reservations and placements, and new snapshots; it excludes the work of probes and of gateways' reports.

use crate::fleet::name;
use crate::random::{Random, Zipf};
use crate::run::{engine, number_of};
use berth_scheduler::accounting::SessionLifetime;
use berth_scheduler::engine::{Engine, Load, Memory};
use berth_scheduler::strategy::{Strategy, Weights};
use berth_scheduler::{Rules, Scheduler, SchedulingRequest};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Decisions per virtual second, which set the number of probes per decision: more than a service makes.
const RATE: u32 = 50_000;
/// Decisions between two readings of the clock.
const BATCH: u32 = 1000;
/// Decisions that are not measured.
const WARM_UP: u32 = 20 * BATCH;
/// Sessions per engine.
const SESSIONS: u32 = 50;
/// Documents in an engine's memory.
const DOCUMENTS: u32 = 30;
const PROBE_S: f64 = 10.0;
const PAGE: u64 = 4096;

/// The result for one fleet.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Number of engines.
    pub engines: u32,
    /// On one core.
    pub decisions_per_s: f64,
}

/// Bytes of resident memory per engine in accounting, snapshot and scheduler together, with the names of its documents
/// and without sessions. Only correct in a process that has not freed memory before.
#[must_use]
pub fn memory(engines: u32, seed: u64) -> u64 {
    let (documents, _) = documents(engines, seed);
    let before = resident();
    let testbed = Testbed::new(documents, Random::seeded(seed));
    let scheduler = chooser(Strategy::default(), seed);
    let request = SchedulingRequest {
        document_weight: None,
        document: None,
        tried: &[],
        now: testbed.now,
    };
    let reserved = scheduler.select(&testbed.snapshot, &request);
    let grown = resident().saturating_sub(before);
    drop(reserved);
    grown / u64::from(engines)
}

/// Measures for about `length`.
#[must_use]
pub fn measure(engines: u32, strategy: Strategy, length: Duration, seed: u64) -> Speed {
    let (documents, opened_documents) = documents(engines, seed);
    let mut opened_documents = opened_documents.iter().cycle();
    let mut testbed = Testbed::new(documents, Random::seeded(seed));
    let scheduler = chooser(strategy, seed);
    let mut streams = 0_u64;
    let mut selected = Vec::with_capacity(BATCH as usize);
    let (mut decisions, mut elapsed, mut is_warm) = (0_u32, Duration::ZERO, false);
    while elapsed < length {
        let names: Vec<String> = (0..BATCH).map(|n| stream(streams + u64::from(n))).collect();
        streams += u64::from(BATCH);
        let started_at = std::time::Instant::now();
        for stream in names {
            testbed.now += Duration::from_secs(1) / RATE;
            let request = SchedulingRequest {
                document_weight: None,
                document: opened_documents.next().map(String::as_str),
                tried: &[],
                now: testbed.now,
            };
            // Refusals are not counted.
            if let Ok(selection) = scheduler.select(&testbed.snapshot, &request) {
                selection.reservation.placed(&stream, testbed.now);
                selected.push((selection.engine, stream));
            }
        }
        elapsed += started_at.elapsed();
        decisions += u32::try_from(selected.len()).unwrap_or(0);
        testbed.advance(&mut selected);
        if !is_warm && decisions >= WARM_UP {
            (decisions, elapsed, is_warm) = (0, Duration::ZERO, true);
        }
    }
    Speed {
        engines,
        decisions_per_s: f64::from(decisions) / elapsed.as_secs_f64(),
    }
}

fn stream(number: u64) -> String {
    format!("{number:016x}")
}

fn chooser(strategy: Strategy, seed: u64) -> Scheduler {
    let rules = Rules {
        strategy,
        per_engine: Some(10 * SESSIONS),
        weights: Weights::default(),
        ..Rules::default()
    };
    Scheduler::new(rules, Box::new(StdRng::seed_from_u64(seed)))
}

/// The documents in each engine's memory, and those that sessions open.
fn documents(engines: u32, seed: u64) -> (Vec<Vec<String>>, Vec<String>) {
    let mut random = Random::seeded(seed);
    let zipf = Zipf::new(20 * engines);
    let mut names = |count| (0..count).map(|_| name(zipf.draw(&mut random))).collect();
    let engine_documents = (0..engines).map(|_| names(DOCUMENTS)).collect();
    (engine_documents, names(65_536))
}

/// The fleet around the scheduler.
struct Testbed {
    now: Instant,
    known: Vec<Arc<Engine>>,
    snapshot: Arc<[Arc<Engine>]>,
    sessions: Vec<u32>,
    /// The engine of each session, the oldest session first, with its stream if gateways know it.
    ends: VecDeque<(u32, Option<String>)>,
    documents: Vec<Vec<String>>,
    next_probe: usize,
    owed_probes: f64,
    random: Random,
}

impl Testbed {
    fn new(documents: Vec<Vec<String>>, random: Random) -> Self {
        let engines = u32::try_from(documents.len()).unwrap_or(0);
        let engines: Vec<_> = (0..engines)
            .map(|n| Arc::new(engine(n, SessionLifetime::STREAM)))
            .collect();
        let mut testbed = Self {
            now: Instant::now(),
            snapshot: Arc::from([]),
            sessions: vec![SESSIONS; documents.len()],
            ends: VecDeque::new(),
            documents,
            next_probe: 0,
            owed_probes: 0.0,
            known: engines,
            random,
        };
        for index in 0..testbed.known.len() {
            testbed.probe(index);
        }
        testbed.snapshot = testbed.known.iter().cloned().collect();
        testbed
    }

    /// Opens the sessions that were just placed, closes the same number of old ones, and probes engines.
    fn advance(&mut self, placed: &mut Vec<(Arc<Engine>, String)>) {
        if self.ends.is_empty() {
            let engines = 0..u32::try_from(self.known.len()).unwrap_or(0);
            let all = (0..SESSIONS).flat_map(|_| engines.clone());
            self.ends = all.map(|index| (index, None)).collect();
        }
        for (engine, stream) in placed.drain(..) {
            let index = number_of(&engine);
            engine.accounting.opened(&stream, &stream, self.now);
            self.ends.push_back((index, Some(stream)));
            if let Some(count) = self.sessions.get_mut(index as usize) {
                *count += 1;
            }
            let Some((engine_index, stream)) = self.ends.pop_front() else {
                continue;
            };
            if let (Some(engine), Some(stream)) = (self.known.get(engine_index as usize), stream) {
                engine.accounting.closed(&stream, Duration::MAX, self.now);
            }
            if let Some(count) = self.sessions.get_mut(engine_index as usize) {
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

    fn probe(&mut self, index: usize) {
        let (Some(current), Some(sessions), Some(documents)) = (
            self.known.get_mut(index),
            self.sessions.get(index),
            self.documents.get(index),
        ) else {
            return;
        };
        let mut engine = Engine::clone(current);
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
        engine.accounting.apply_probe(self.now, &load);
        engine.load = Some(Arc::new(load));
        *current = Arc::new(engine);
    }
}

/// Resident memory of this process, bytes (proc(5), `statm`).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1);
    pages.and_then(|p| p.parse::<u64>().ok()).unwrap_or(0) * PAGE
}
