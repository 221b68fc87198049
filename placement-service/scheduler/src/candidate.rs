//! The input of a decision: the current numbers of each engine and whether it is eligible; and the means of the pool,
//! with which the numbers are compared. Plain values: a score reads no engine.

use crate::Rules;
use crate::engine::{Engine, Memory};
use crate::filter::{self, Eligibility, FilterReason};
use std::time::Duration;
use tokio::time::Instant;

/// An engine with at least this share of its memory free gets the full score: more free memory makes it no faster.
const AMPLE_FREE_MEMORY: f64 = 0.25;

/// One engine as input of a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Sessions of the last probe, and those that the probe cannot have seen.
    pub sessions: u32,
    /// How many of them no probe has seen.
    pub reserved: u32,
    /// Free share of the memory that it can reach, 0 to 1.
    pub memory: Option<f64>,
    /// Free memory, MB.
    pub memory_free_mb: Option<f64>,
    /// Free share of its CPU, 0 to 1.
    pub cpu: Option<f64>,
    /// When it became ready, if that was seen.
    pub up_since: Option<Instant>,
    /// Number of the placement that last chose it.
    pub turn: u64,
    /// Its place in the natural order of the names: engine-9 before engine-10.
    pub rank: u32,
    /// Whether it may be selected, or why not.
    pub eligibility: Eligibility,
    /// When the engine's accounting has to be read again although nothing changes it.
    pub(crate) valid_until: Option<Instant>,
}

impl Candidate {
    /// Reads the accounting of an engine, and filters it.
    pub(crate) fn read(engine: &Engine, rank: u32, rules: &Rules, now: Instant) -> Self {
        let snapshot = engine.accounting.read(now);
        let load = engine.load.as_deref();
        let memory = load.and_then(|load| load.memory).map(|memory| Memory {
            committed: memory.committed + snapshot.pending_cost.memory_mb,
            free: memory.free - snapshot.pending_cost.memory_mb,
        });
        let cpu = load.and_then(|load| load.cpu).map(|probed_cpu| {
            let cpu = snapshot.cpu.unwrap_or(probed_cpu) + snapshot.pending_cost.cpu;
            (1.0 - cpu).clamp(0.0, 1.0)
        });
        let sessions = snapshot.sessions(load.and_then(|load| load.sessions));
        let memory_free_mb = memory.map(|memory| memory.free);
        Self {
            sessions,
            reserved: snapshot.reserved,
            memory: memory.map(Memory::headroom),
            memory_free_mb,
            cpu,
            up_since: snapshot.up_since,
            turn: snapshot.turn,
            rank,
            eligibility: filter::evaluate(engine.state, sessions, memory_free_mb, &snapshot, rules),
            valid_until: snapshot.valid_until,
        }
    }

    /// An engine whose accounting has not been read.
    pub(crate) fn unread(rank: u32, now: Instant) -> Self {
        Self {
            sessions: 0,
            reserved: 0,
            memory: None,
            memory_free_mb: None,
            cpu: None,
            up_since: None,
            turn: 0,
            rank,
            eligibility: Eligibility::Excluded(FilterReason::Starting),
            valid_until: Some(now),
        }
    }

    /// Whether it may be selected.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.eligibility == Eligibility::Eligible
    }

    /// The share of its weight that a new engine has, 0 to 1.
    #[must_use]
    pub fn slow_start_weight(&self, slow_start: Duration, now: Instant) -> f64 {
        let Some(up_since) = self.up_since.filter(|_| !slow_start.is_zero()) else {
            return 1.0;
        };
        let uptime = now.saturating_duration_since(up_since);
        (uptime.as_secs_f64() / slow_start.as_secs_f64()).min(1.0)
    }
}

/// The means of the eligible engines: what counts as average in this pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoolBaseline {
    /// Sessions per engine; never 0.
    pub sessions: f64,
    /// Mean score of memory.
    pub memory: f64,
    /// Mean score of CPU.
    pub cpu: f64,
    /// Number of eligible engines.
    pub engines: u32,
    /// Number of this placement.
    pub turn: u64,
}

impl PoolBaseline {
    /// Fewer sessions than these say little of an engine's load.
    const MIN_SESSIONS: f64 = 10.0;

    pub(crate) fn new<'a>(eligible: impl Iterator<Item = &'a Candidate>, turn: u64) -> Self {
        let (mut engines, mut sessions) = (0_u32, 0.0);
        let (mut memory, mut cpu) = (Mean::default(), Mean::default());
        for candidate in eligible {
            engines += 1;
            sessions += f64::from(candidate.sessions);
            memory.add(candidate.memory.map(memory_score));
            cpu.add(candidate.cpu);
        }
        Self {
            sessions: (sessions / f64::from(engines.max(1))).max(Self::MIN_SESSIONS),
            memory: memory.get(),
            cpu: cpu.get(),
            engines,
            turn,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    /// Neither good nor bad when no engine has the number.
    fn get(self) -> f64 {
        if self.count == 0 {
            return 0.5;
        }
        self.sum / f64::from(self.count)
    }
}

/// The score of a free share of memory.
pub(super) fn memory_score(free: f64) -> f64 {
    (free / AMPLE_FREE_MEMORY).clamp(0.0, 1.0)
}
