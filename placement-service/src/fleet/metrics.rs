//! The fleet's Prometheus metrics: gauges read from the snapshot at scrape time, so that an engine that
//! is gone leaves no series behind, and a counter of failed probes.

use super::FleetReader;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::engine::{EngineName, State};
use crate::probe::ProbeFault;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use tokio::time::Instant;

/// Counts failed probes, and what becomes of discoveries.
#[derive(Clone, Debug, Default)]
pub struct ProbeMetrics {
    failures: Family<FailureLabels, Counter>,
    pub(super) discovery: DiscoveryMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    pool: String,
    engine: String,
    fault: &'static str,
}

impl ProbeMetrics {
    /// Registers `berth_probe_failures_total` and those of discoveries.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            failures: Family::default(),
            discovery: DiscoveryMetrics::register(registry),
        };
        registry.register(
            "probe_failures",
            "Probes that an engine failed",
            metrics.failures.clone(),
        );
        metrics
    }

    /// One probe failed.
    pub fn failed(&self, pool: &str, engine: &EngineName, fault: &ProbeFault) {
        let labels = FailureLabels {
            pool: pool.to_owned(),
            engine: engine.as_str().to_owned(),
            fault: fault.as_str(),
        };
        self.failures.get_or_create(&labels).inc();
    }
}

/// Gauges of the latest snapshot: `berth_fleet_stale`, `berth_engine_state`, `berth_engine_sessions`,
/// `berth_engine_reservations`.
#[derive(Debug)]
pub struct FleetCollector(pub FleetReader);

impl Collector for FleetCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let fleet = self.0.now();
        let now = Instant::now();
        let engines = || {
            fleet
                .pools()
                .iter()
                .flat_map(|pool| pool.engines.iter().map(move |e| (&*pool.name, e)))
        };
        let gauge = ConstGauge::new(0_i64);
        let mut family = encoder.encode_descriptor(
            "fleet_stale",
            "1: no usable engine's load is known, the pool goes by its own counts",
            None,
            gauge.metric_type(),
        )?;
        for pool in fleet.pools() {
            let labels = [("pool", &*pool.name)];
            let value = i64::from(pool.is_blind());
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "engine_state",
            "1 for the state that the engine is in",
            None,
            gauge.metric_type(),
        )?;
        for (pool, engine) in engines() {
            for state in State::ALL {
                let labels = [
                    ("pool", pool),
                    ("engine", engine.name.as_str()),
                    ("state", state.as_str()),
                ];
                let value = i64::from(engine.state == state);
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "engine_sessions",
            "Sessions that the last probe saw",
            None,
            gauge.metric_type(),
        )?;
        for (pool, engine) in engines() {
            let labels = [("pool", pool), ("engine", engine.name.as_str())];
            let value = i64::from(engine.probed_sessions());
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "engine_reservations",
            "Sessions placed that neither a probe has seen nor a gateway has reported open",
            None,
            gauge.metric_type(),
        )?;
        for (pool, engine) in engines() {
            let labels = [("pool", pool), ("engine", engine.name.as_str())];
            let value = i64::from(engine.tally.unconfirmed(now));
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
