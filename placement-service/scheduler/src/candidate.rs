//! What a strategy may look at: the numbers of one engine at one moment, and those of the pool to which
//! they are compared. Plain numbers, so that a choice reads no engine but the one it takes.

use crate::accounting::{Standing, Tally};
use crate::engine::{Engine, Memory, State};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The share of free memory from which on more is no better: memory does nothing for an engine until it
/// runs short of it.
const AMPLE: f64 = 0.25;

/// One engine, as of the last look at its books.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts {
    /// Sessions of the last probe and those that it cannot know yet.
    pub sessions: u32,
    /// How many of them no probe has seen.
    pub reserved: u32,
    /// Free share of the memory that it can reach, 0 to 1.
    pub memory: Option<f64>,
    /// Free memory, MB.
    pub memory_free_mb: Option<f64>,
    /// Free share of its CPU, 0 to 1.
    pub cpu: Option<f64>,
    /// When it came up, if that was seen.
    pub up_since: Option<Instant>,
    /// The number of the choice that last took it.
    pub turn: u64,
    /// Its place in the natural order of the names: engine-9 before engine-10.
    pub rank: u32,
}

impl Facts {
    /// Reads an engine's books. `rank`: its place in the order of names.
    #[must_use]
    pub(super) fn of(told: &Told, standing: &Standing, rank: u32) -> Self {
        Self {
            sessions: standing.sessions(told.sessions),
            reserved: standing.reserved,
            memory: told.memory.map(|memory| {
                let coming = standing.coming.memory_mb;
                let then = Memory {
                    committed: memory.committed + coming,
                    free: memory.free - coming,
                };
                then.headroom()
            }),
            memory_free_mb: told.memory.map(|m| m.free - standing.coming.memory_mb),
            up_since: standing.up_since,
            cpu: told.cpu.map(|probed| {
                let cpu = standing.cpu.unwrap_or(probed) + standing.coming.cpu;
                (1.0 - cpu).clamp(0.0, 1.0)
            }),
            turn: standing.turn,
            rank,
        }
    }

    /// The share of its weight that an engine has which came up a while ago, 0 to 1.
    #[must_use]
    pub fn warmth(&self, slow_start: Duration, now: Instant) -> f64 {
        let Some(since) = self.up_since.filter(|_| !slow_start.is_zero()) else {
            return 1.0;
        };
        let up = now.saturating_duration_since(since);
        (up.as_secs_f64() / slow_start.as_secs_f64()).min(1.0)
    }
}

/// What a snapshot tells of one engine, copied so that a look at its books reads nothing else.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) tally: Arc<Tally>,
    pub(super) state: State,
    sessions: Option<u32>,
    memory: Option<Memory>,
    cpu: Option<f64>,
}

impl Told {
    pub(super) fn by(engine: &Engine) -> Self {
        let load = engine.load.as_deref();
        Self {
            tally: Arc::clone(&engine.tally),
            state: engine.state,
            sessions: load.and_then(|load| load.sessions),
            memory: load.and_then(|load| load.memory),
            cpu: load.and_then(|load| load.cpu),
        }
    }
}

/// What counts as middling in this pool, and where it is in its turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Sessions per engine; never 0.
    pub sessions: f64,
    /// Score of memory.
    pub memory: f64,
    /// Score of CPU.
    pub cpu: f64,
    /// Engines that may be chosen.
    pub engines: u32,
    /// The number of the latest choice.
    pub turn: u64,
}

impl Scale {
    /// Fewer sessions than these say little of an engine's load.
    const FEW_SESSIONS: f64 = 10.0;
    /// By this share the mean of sessions and the number of engines may move before everything is weighed anew.
    const DRIFT: f64 = 0.1;
    /// And by so much the scores of memory and CPU.
    const SCORE_DRIFT: f64 = 0.05;

    /// Whether it is still right for a pool with these sums.
    pub(super) fn fits(&self, sums: &Sums) -> bool {
        let now = sums.scale(self.turn);
        let near = |now: f64, was: f64, by: f64| (now - was).abs() <= by;
        let (engines, were) = (f64::from(now.engines), f64::from(self.engines));
        near(now.sessions, self.sessions, self.sessions * Self::DRIFT)
            && near(engines, were, were * Self::DRIFT)
            && near(now.memory, self.memory, Self::SCORE_DRIFT)
            && near(now.cpu, self.cpu, Self::SCORE_DRIFT)
    }
}

/// The sums behind a [`Scale`]: of the engines that may be chosen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    engines: u32,
    sessions: u64,
    memory: Mean,
    cpu: Mean,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    of: u32,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.of += 1;
        }
    }

    fn remove(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum -= value;
            self.of = self.of.saturating_sub(1);
        }
    }

    /// When nobody says anything, it is neither good nor bad.
    fn get(self) -> f64 {
        if self.of == 0 {
            return 0.5;
        }
        (self.sum / f64::from(self.of)).clamp(0.0, 1.0)
    }
}

impl Sums {
    pub(super) fn add(&mut self, facts: &Facts) {
        self.engines += 1;
        self.sessions += u64::from(facts.sessions);
        self.memory.add(facts.memory.map(ample));
        self.cpu.add(facts.cpu);
    }

    pub(super) fn remove(&mut self, facts: &Facts) {
        self.engines = self.engines.saturating_sub(1);
        self.sessions = self.sessions.saturating_sub(u64::from(facts.sessions));
        self.memory.remove(facts.memory.map(ample));
        self.cpu.remove(facts.cpu);
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "a mean needs no more than 53 bits"
    )]
    pub(super) fn scale(&self, turn: u64) -> Scale {
        let mean = self.sessions as f64 / f64::from(self.engines.max(1));
        Scale {
            sessions: mean.max(Scale::FEW_SESSIONS),
            memory: self.memory.get(),
            cpu: self.cpu.get(),
            engines: self.engines,
            turn,
        }
    }
}

/// The worth of a share of free memory.
pub(super) fn ample(free: f64) -> f64 {
    (free / AMPLE).clamp(0.0, 1.0)
}
