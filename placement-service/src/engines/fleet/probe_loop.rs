//! Probes one engine while its discovery lists it: at once, and then at each interval with 10 % jitter; or receives the
//! results of another replica. Does not know what a result means.

use crate::engines::health::cpu_unit::CpuUnit;
use crate::engines::health::{ProbeFault, Prober, Reading};
use crate::engines::ledger::SharedProbeResults;
use berth_scheduler::engine::{Endpoint, EngineName};
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Minimum time between the starts of two probes, however often the engine is reported as failed.
const MIN_GAP: Duration = Duration::from_millis(500);

/// The probe loop of one engine.
pub(super) struct ProbeLoop {
    pub(super) prober: Prober,
    pub(super) interval: Duration,
    /// Time limit of one probe.
    pub(super) timeout: Duration,
    /// The probe results that the replicas share. `None` with a single replica.
    pub(super) shared: Option<SharedProbeResults>,
    /// Notified when the engine may have failed.
    pub(super) probe_now: Arc<Notify>,
    pub(super) engine: (Arc<str>, EngineName, Endpoint),
}

impl ProbeLoop {
    /// Reports each result with the start of its probe, until `report` returns false.
    pub(super) async fn run<F>(
        self,
        mut report: impl FnMut(Instant, Result<Reading, ProbeFault>) -> F,
    ) where
        F: Future<Output = bool>,
    {
        let (pool, name, endpoint) = &self.engine;
        let key = format!("{pool}/{name}@{}", endpoint.api);
        let mut last_start = None;
        let mut cpu_unit = CpuUnit::default();
        loop {
            let shared_result = match &self.shared {
                Some(shared) => {
                    // The next result may be late by one interval, one probe, and the time of its exchange.
                    let wait_until = Instant::now() + self.interval * 2 + self.timeout;
                    tokio::select! {
                        result = shared.next_after(&key, last_start, wait_until) => result,
                        () = self.probe_now.notified() => {
                            wait_for_gap(last_start).await;
                            None
                        }
                    }
                }
                None => None,
            };
            if let Some((started_at, result)) = shared_result {
                last_start = Some(started_at);
                if !report(started_at, result).await {
                    return;
                }
                continue;
            }
            let started_at = Instant::now();
            let result = self.prober.probe(endpoint, &mut cpu_unit).await;
            last_start = Some(started_at);
            if let Some(shared) = &self.shared {
                shared.publish(&key, started_at, &result);
            }
            if !report(started_at, result).await {
                return;
            }
            let jitter = rand::rng().random_range(0.9..1.1);
            tokio::select! {
                () = sleep_until(started_at + self.interval.mul_f64(jitter)) => {}
                () = self.probe_now.notified() => wait_for_gap(last_start).await,
            }
        }
    }
}

/// Waits until another probe may start.
async fn wait_for_gap(last_start: Option<Instant>) {
    if let Some(last_start) = last_start {
        sleep_until(last_start + MIN_GAP).await;
    }
}
