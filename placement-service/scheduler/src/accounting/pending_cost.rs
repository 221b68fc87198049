//! The memory and CPU that the sessions of one engine are going to take, from the decision until a probe shows them.
//! Each probe then shows what such sessions really cost, which improves the next estimates. Also smooths the CPU, which
//! varies from probe to probe. Which sessions a probe has seen, the accounting decides.

use crate::cost::{Cost, CostKey, Costs, Observation, observations};
use crate::engine::load::Load;

/// Documents whose cost on this engine is remembered.
const DOCUMENTS: usize = 16;
/// Weight of one probe's CPU against the expected value.
const CPU_RATE: f64 = 0.3;
/// A larger difference from the expected CPU is no noise.
const CPU_JUMP: f64 = 0.25;

/// What one session is expected to cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct CostEstimate {
    pub(super) key: CostKey,
    pub(super) cost: Cost,
}

#[derive(Debug, Default)]
pub(super) struct PendingCost {
    /// Number and estimated cost of the reservations that are held.
    reserved: (u32, Cost),
    /// Estimated cost of the placed sessions that no probe has seen.
    placed: Cost,
    costs: Costs,
    last: Option<LastProbe>,
}

/// The numbers of the last probe.
#[derive(Clone, Copy, Debug)]
struct LastProbe {
    sessions: Option<u32>,
    committed_mb: Option<f64>,
    cpu: Option<f64>,
    smooth_cpu: Option<f64>,
}

impl PendingCost {
    /// Estimates what a session costs here. `in_pool`: what such a session costs in the pool, used when none is known
    /// on this engine.
    pub(super) fn estimate(&self, key: CostKey, in_pool: impl FnOnce() -> Cost) -> CostEstimate {
        let cost = self.costs.estimate(key).unwrap_or_else(in_pool);
        CostEstimate { key, cost }
    }

    /// A reservation begins.
    pub(super) fn begin(&mut self, estimate: &CostEstimate) {
        let (count, cost) = self.reserved;
        self.reserved = (count.saturating_add(1), cost + estimate.cost);
    }

    /// A reservation ends.
    pub(super) fn end(&mut self, estimate: &CostEstimate) {
        let (count, cost) = self.reserved;
        // The last one resets the sum, so that rounding errors do not add up.
        self.reserved = match count.saturating_sub(1) {
            0 => (0, Cost::default()),
            remaining_uses => (remaining_uses, cost - estimate.cost),
        };
    }

    /// A session was placed.
    pub(super) fn placed(&mut self, estimate: &CostEstimate) {
        self.placed = self.placed + estimate.cost;
    }

    /// A probe has seen a placed session, or the session is gone. `is_last_use`: there is no other one.
    pub(super) fn remove(&mut self, estimate: &CostEstimate, is_last_use: bool) {
        self.placed = if is_last_use {
            Cost::default()
        } else {
            self.placed - estimate.cost
        };
    }

    /// The estimated cost that the last probe does not show.
    pub(super) fn cost(&self) -> Cost {
        self.reserved.1 + self.placed
    }

    /// Sessions of the last probe.
    pub(super) fn sessions(&self) -> Option<u32> {
        self.last?.sessions
    }

    /// The CPU as of the last probe, smoothed, 0 to 1.
    pub(super) fn smooth_cpu(&self) -> Option<f64> {
        self.last?.smooth_cpu
    }

    /// Takes in the numbers of a probe, which shows the sessions `probed` for the first time. Returns what they cost.
    pub(super) fn apply_probe(&mut self, probed: &[CostEstimate], load: &Load) -> Vec<Observation> {
        let probed: Vec<_> = probed.iter().map(|e| (e.key, e.cost)).collect();
        let committed_mb = load.memory.map(|memory| memory.committed);
        let previous = self.last;
        let mut now = LastProbe {
            sessions: load.sessions,
            committed_mb,
            cpu: load.cpu,
            smooth_cpu: load.cpu,
        };
        let closed = self.cost_of_closed(&probed, previous.and_then(|l| l.sessions), load.sessions);
        if let Some(cpu) = load.cpu
            && let Some(before) = previous.and_then(|l| l.smooth_cpu)
        {
            let added: f64 = probed.iter().map(|(_, cost)| cost.cpu).sum();
            let expected = before + added - closed.cpu;
            let difference = cpu - expected;
            let smooth = if difference.abs() > CPU_JUMP {
                cpu
            } else {
                expected + CPU_RATE * difference
            };
            now.smooth_cpu = Some(smooth.clamp(0.0, 1.0));
        }
        self.last = Some(now);
        let (Some(previous), false) = (previous, probed.is_empty()) else {
            return Vec::new();
        };
        let grown = |before: Option<f64>, after: Option<f64>| Some(after? - before?);
        let expected = probed.iter().fold(Cost::default(), |sum, (_, c)| sum + *c);
        // A number that the probe does not have teaches nothing: it counts as expected.
        let change = Cost {
            memory_mb: grown(previous.committed_mb, committed_mb)
                .map_or(expected.memory_mb, |mb| mb + closed.memory_mb),
            cpu: grown(previous.cpu, load.cpu).map_or(expected.cpu, |cpu| cpu + closed.cpu),
        };
        let observations: Vec<Observation> = observations(&probed, change).collect();
        for observation in &observations {
            self.costs.observe(observation, DOCUMENTS);
        }
        observations
    }

    /// The cost of the sessions that must have closed between two probes.
    fn cost_of_closed(
        &self,
        probed: &[(CostKey, Cost)],
        before: Option<u32>,
        after: Option<u32>,
    ) -> Cost {
        let (Some(before), Some(after)) = (before, after) else {
            return Cost::default();
        };
        let opened = u32::try_from(probed.len()).unwrap_or(u32::MAX);
        let closed = before.saturating_add(opened).saturating_sub(after);
        let cost_per_session = self.costs.estimate_any(true);
        Cost {
            memory_mb: cost_per_session.memory_mb * f64::from(closed),
            cpu: cost_per_session.cpu * f64::from(closed),
        }
    }
}

#[cfg(test)]
mod tests;
