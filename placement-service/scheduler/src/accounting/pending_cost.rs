//! The memory and CPU that sessions are going to take, from the choice until a probe has seen it; what
//! probes then show teaches what such sessions cost. Also smooths the CPU, which jumps from probe to probe,
//! around what was expected of it. Part of the books of one engine, which know what a probe has seen.

use crate::cost::{Cost, Costs, Kind, Lesson, lessons};
use crate::engine::load::Load;

/// Documents whose cost on this engine is remembered.
const DOCUMENTS: usize = 16;
/// What one probe's CPU counts against what was expected.
const CPU_RATE: f64 = 0.3;
/// A difference beyond this is no noise.
const CPU_NEWS: f64 = 0.25;

/// What one reservation is expected to cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Expected {
    pub(super) kind: Kind,
    pub(super) cost: Cost,
}

#[derive(Debug, Default)]
pub(super) struct Coming {
    /// Handles alive, and what they are going to cost.
    under_way: (u32, Cost),
    /// Of the placements that no probe has seen.
    placed: Cost,
    costs: Costs,
    last: Option<Measured>,
}

/// What the last probe has shown.
#[derive(Clone, Copy, Debug)]
struct Measured {
    sessions: Option<u32>,
    committed_mb: Option<f64>,
    cpu: Option<f64>,
    smooth_cpu: Option<f64>,
}

impl Coming {
    /// What a session is expected to cost here; `guess`: what such a session costs in this pool.
    pub(super) fn expect(&self, kind: Kind, guess: impl FnOnce() -> Cost) -> Expected {
        let cost = self.costs.of(kind).unwrap_or_else(guess);
        Expected { kind, cost }
    }

    pub(super) fn begin(&mut self, expected: &Expected) {
        let (count, cost) = self.under_way;
        self.under_way = (count.saturating_add(1), cost.plus(expected.cost));
    }

    pub(super) fn end(&mut self, expected: &Expected) {
        let (count, cost) = self.under_way;
        // From nothing on, nothing is left of what rounding has added up.
        self.under_way = match count.saturating_sub(1) {
            0 => (0, Cost::default()),
            left => (left, cost.minus(expected.cost)),
        };
    }

    pub(super) fn placed(&mut self, expected: &Expected) {
        self.placed = self.placed.plus(expected.cost);
    }

    /// A placement is seen, or gone. `last`: there is no other.
    pub(super) fn gone(&mut self, expected: &Expected, last: bool) {
        self.placed = if last {
            Cost::default()
        } else {
            self.placed.minus(expected.cost)
        };
    }

    /// What is going to come on top of what the last probe has shown.
    pub(super) fn cost(&self) -> Cost {
        self.under_way.1.plus(self.placed)
    }

    /// Sessions of the last probe.
    pub(super) fn sessions(&self) -> Option<u32> {
        self.last?.sessions
    }

    /// The CPU as of the last probe, smoothed, 0 to 1.
    pub(super) fn smooth_cpu(&self) -> Option<f64> {
        self.last?.smooth_cpu
    }

    /// A probe has brought numbers, which `seen` are in for the first time. Returns what that teaches.
    pub(super) fn measured(&mut self, seen: &[Expected], load: &Load) -> Vec<Lesson> {
        let seen: Vec<_> = seen.iter().map(|e| (e.kind, e.cost)).collect();
        let committed_mb = load.memory.map(|memory| memory.committed);
        let last = self.last;
        let mut now = Measured {
            sessions: load.sessions,
            committed_mb,
            cpu: load.cpu,
            smooth_cpu: load.cpu,
        };
        let left = self.cost_of_closed(&seen, last.and_then(|l| l.sessions), load.sessions);
        if let Some(cpu) = load.cpu
            && let Some(before) = last.and_then(|l| l.smooth_cpu)
        {
            let came: f64 = seen.iter().map(|(_, cost)| cost.cpu).sum();
            let expected = before + came - left.cpu;
            let news = cpu - expected;
            let smooth = if news.abs() > CPU_NEWS {
                cpu
            } else {
                expected + CPU_RATE * news
            };
            now.smooth_cpu = Some(smooth.clamp(0.0, 1.0));
        }
        self.last = Some(now);
        let (Some(last), false) = (last, seen.is_empty()) else {
            return Vec::new();
        };
        let grown = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
        let expected = seen
            .iter()
            .fold(Cost::default(), |sum, (_, c)| sum.plus(*c));
        // A number that is not told teaches nothing: it is as it was expected.
        let change = Cost {
            memory_mb: grown(last.committed_mb, committed_mb)
                .map_or(expected.memory_mb, |mb| mb + left.memory_mb),
            cpu: grown(last.cpu, load.cpu).map_or(expected.cpu, |cpu| cpu + left.cpu),
        };
        let lessons: Vec<Lesson> = lessons(&seen, change).collect();
        for lesson in &lessons {
            self.costs.learn(lesson, DOCUMENTS);
        }
        lessons
    }

    /// What was given back by sessions that must have closed between two probes.
    fn cost_of_closed(
        &self,
        seen: &[(Kind, Cost)],
        before: Option<u32>,
        after: Option<u32>,
    ) -> Cost {
        let (Some(before), Some(after)) = (before, after) else {
            return Cost::default();
        };
        let opened = u32::try_from(seen.len()).unwrap_or(u32::MAX);
        let closed = before.saturating_add(opened).saturating_sub(after);
        let each = self.costs.of_any(true);
        Cost {
            memory_mb: each.memory_mb * f64::from(closed),
            cpu: each.cpu * f64::from(closed),
        }
    }
}

#[cfg(test)]
mod tests;
