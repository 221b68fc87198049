//! The metrics of placements. Labels are pool names and constants, never data of a user.

use super::key_table::KeyTable;
use super::pool::Pool;
use crate::core::metrics::register_metric;
use crate::engines::fleet::FleetReader;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The counters and histograms of placements.
#[derive(Clone, Debug)]
pub(super) struct PlacementMetrics {
    placements: Family<OutcomeLabels, Counter>,
    attempts: Family<OutcomeLabels, Counter>,
    reasons: Family<ReasonLabels, Counter>,
    session_ends: Family<OutcomeLabels, Counter>,
    attempt_duration: Family<PoolLabel, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    pool: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    pool: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabel {
    pool: Arc<str>,
}

/// From 50 us, a TCP connect on one host, to 13 s, longer than any sensible deadline.
fn attempt_histogram() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 19))
}

impl PlacementMetrics {
    /// Creates and registers the metrics.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let prepare = Family::new_with_constructor(attempt_histogram as fn() -> Histogram);
        registry.register(
            "placement_attempt_duration_seconds",
            "How long engines took to prepare a session, successful or not",
            prepare.clone(),
        );
        Self {
            placements: register_metric(
                registry,
                "placements",
                "Placements by outcome: ok or the reason of the refusal",
            ),
            attempts: register_metric(
                registry,
                "placement_attempts",
                "Placement attempts by outcome: ok or the engine's fault",
            ),
            reasons: register_metric(
                registry,
                "placement_reasons",
                "Successful placements by reason: the strategy, resumed, shared, replaced or affinity",
            ),
            session_ends: register_metric(
                registry,
                "engine_session_ends",
                "Engine sessions that the service ended, or failed to end, by outcome",
            ),
            attempt_duration: prepare,
        }
    }

    /// Counts a finished placement.
    pub(super) fn record_placement(&self, pool: &Arc<str>, outcome: &'static str) {
        count(&self.placements, pool, outcome);
    }

    /// Counts the reason of a successful placement.
    pub(super) fn record_reason(&self, pool: &Arc<str>, reason: &'static str) {
        let labels = ReasonLabels {
            pool: Arc::clone(pool),
            reason,
        };
        self.reasons.get_or_create(&labels).inc();
    }

    /// Counts an engine session that was to be ended.
    pub(super) fn record_session_end(&self, pool: &Arc<str>, outcome: &'static str) {
        count(&self.session_ends, pool, outcome);
    }

    /// Records an attempt on an engine.
    pub(super) fn record_attempt(
        &self,
        pool: &Arc<str>,
        outcome: &'static str,
        duration: Duration,
    ) {
        count(&self.attempts, pool, outcome);
        let label = PoolLabel {
            pool: Arc::clone(pool),
        };
        self.attempt_duration
            .get_or_create(&label)
            .observe(duration.as_secs_f64());
    }
}

fn count(family: &Family<OutcomeLabels, Counter>, pool: &Arc<str>, outcome: &'static str) {
    let labels = OutcomeLabels {
        pool: Arc::clone(pool),
        outcome,
    };
    family.get_or_create(&labels).inc();
}

/// Gauges computed at each scrape, for autoscalers: `berth_pool_available_sessions` and
/// `berth_placement_queue_length`; and `berth_keys`.
pub(super) struct PoolCapacityCollector {
    pools: Arc<[Pool]>,
    fleet: FleetReader,
    keys: Arc<KeyTable>,
}

impl PoolCapacityCollector {
    pub(super) const fn new(pools: Arc<[Pool]>, fleet: FleetReader, keys: Arc<KeyTable>) -> Self {
        Self { pools, fleet, keys }
    }
}

impl fmt::Debug for PoolCapacityCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomCollector")
    }
}

impl Collector for PoolCapacityCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Instant::now();
        let fleet = self.fleet.snapshot();
        let kind = ConstGauge::new(0_i64).metric_type();
        let help = "Available sessions of the pool; only for pools with a limit";
        let mut family = encoder.encode_descriptor("pool_available_sessions", help, None, kind)?;
        for (pool, engines) in self.pools.iter().zip(fleet.pools()) {
            if let Some(available) = pool.scheduler.available_sessions(&engines.engines, now) {
                let available = i64::try_from(available).unwrap_or(i64::MAX);
                let labels = [("pool", &*pool.name)];
                ConstGauge::new(available).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Placements in the queue";
        let mut family = encoder.encode_descriptor("placement_queue_length", help, None, kind)?;
        for pool in self.pools.iter() {
            let labels = [("pool", &*pool.name)];
            let queue_length = i64::from(pool.queue.length());
            ConstGauge::new(queue_length).encode(family.encode_family(&labels)?)?;
        }
        let help = "Keys that count on engines through this replica";
        let encoder = encoder.encode_descriptor("keys", help, None, kind)?;
        let keys = i64::try_from(self.keys.len()).unwrap_or(i64::MAX);
        ConstGauge::new(keys).encode(encoder)
    }
}
