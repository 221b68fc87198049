//! Probes one engine for as long as it is there: at once and then at each interval, give or take a tenth; or hears
//! what another replica has probed. Decides nothing of what a probe means.

use crate::engines::health::{ProbeFault, Prober, Reading};
use crate::engines::ledger::Probes;
use berth_scheduler::engine::{Endpoint, EngineName};
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One engine, and how it is asked.
pub(super) struct Probing {
    pub(super) prober: Prober,
    pub(super) interval: Duration,
    /// What one probe may take.
    pub(super) timeout: Duration,
    /// What replicas tell each other; `None`: this is the only one.
    pub(super) shared: Option<Probes>,
    pub(super) engine: (Arc<str>, EngineName, Endpoint),
}

impl Probing {
    /// Hands each result on, with the time at which its probe began, until nobody wants any more.
    pub(super) async fn forever<F>(
        self,
        mut report: impl FnMut(Instant, Result<Reading, ProbeFault>) -> F,
    ) where
        F: Future<Output = bool>,
    {
        let (pool, name, endpoint) = &self.engine;
        let key = format!("{pool}/{name}@{}", endpoint.api);
        let mut last = None;
        loop {
            let heard = match &self.shared {
                Some(shared) => {
                    // The next may be late by this much, and by the telling.
                    let until = Instant::now() + self.interval * 2 + self.timeout;
                    shared.heard(&key, last, until).await
                }
                None => None,
            };
            if let Some((began, result)) = heard {
                last = Some(began);
                if !report(began, result).await {
                    return;
                }
                continue;
            }
            let began = Instant::now();
            let result = self.prober.probe(endpoint).await;
            last = Some(began);
            if let Some(shared) = &self.shared {
                shared.tell(&key, began, &result);
            }
            if !report(began, result).await {
                return;
            }
            let jitter = rand::rng().random_range(0.9..1.1);
            tokio::time::sleep_until(began + self.interval.mul_f64(jitter)).await;
        }
    }
}
