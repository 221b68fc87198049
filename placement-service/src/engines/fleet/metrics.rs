//! The Prometheus metrics of the fleet: gauges that are read from the snapshot at each scrape, and a counter of failed
//! probes. The series of an engine end when the engine is gone. Decides nothing.

use super::{Fleet, FleetReader};
use crate::core::metrics::start_at_zero;
use crate::engines::discovery::metrics::DiscoveryMetrics;
use crate::engines::health::ProbeFault;
use berth_scheduler::circuit_breaker::CircuitState;
use berth_scheduler::engine::{Engine, EngineName, State};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// The counter of failed probes, and the metrics of discoveries.
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

impl FailureLabels {
    fn new(pool: &str, engine: &EngineName, fault: &'static str) -> Self {
        Self {
            pool: pool.to_owned(),
            engine: engine.as_str().to_owned(),
            fault,
        }
    }
}

impl ProbeMetrics {
    /// Registers `berth_probe_failures_total` and the metrics of discoveries.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            failures: Family::default(),
            discovery: DiscoveryMetrics::register(registry),
        };
        registry.register("probe_failures", "Failed probes", metrics.failures.clone());
        metrics
    }

    /// Starts the counters of a new engine.
    pub fn add_engine(&self, pool: &str, engine: &EngineName) {
        let labels = ProbeFault::KINDS.map(|fault| FailureLabels::new(pool, engine, fault));
        start_at_zero(&self.failures, labels);
    }

    /// Counts a failed probe.
    pub fn record_failure(&self, pool: &str, engine: &EngineName, fault: &ProbeFault) {
        let labels = FailureLabels::new(pool, engine, fault.as_str());
        self.failures.get_or_create(&labels).inc();
    }

    /// Removes the series of an engine that is gone.
    pub fn remove_engine(&self, pool: &str, engine: &EngineName) {
        for fault in ProbeFault::KINDS {
            let labels = FailureLabels::new(pool, engine, fault);
            self.failures.remove(&labels);
        }
    }
}

/// Gauges of the latest snapshot: `berth_pool_metrics_stale`, `berth_engine_state`, and the numbers of each engine.
#[derive(Debug)]
pub struct FleetCollector(pub FleetReader);

impl Collector for FleetCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut collecting = Scrape {
            encoder,
            fleet: self.0.snapshot(),
        };
        collecting.encode_states()?;
        collecting.encode_numbers(Instant::now())
    }
}

/// One scrape.
struct Scrape<'a> {
    encoder: DescriptorEncoder<'a>,
    fleet: Arc<Fleet>,
}

impl Scrape<'_> {
    fn encode_states(&mut self) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(0_i64).metric_type();
        let help =
            "1: the load of no usable engine is known, the pool uses the counts of Berth alone";
        let mut family = self
            .encoder
            .encode_descriptor("pool_metrics_stale", help, None, gauge)?;
        for pool in self.fleet.pools() {
            let labels = [("pool", &*pool.name)];
            let value = i64::from(pool.metrics_stale());
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        let help = "1 for the current state of the engine";
        let mut family = self
            .encoder
            .encode_descriptor("engine_state", help, None, gauge)?;
        for pool in self.fleet.pools() {
            for (engine, state) in pool.engines.iter().flat_map(|e| State::ALL.map(|s| (e, s))) {
                let labels = [
                    ("pool", &*pool.name),
                    ("engine", engine.name.as_str()),
                    ("state", state.as_str()),
                ];
                let value = i64::from(engine.state == state);
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_numbers(&mut self, now: Instant) -> Result<(), fmt::Error> {
        let help = "Sessions as the scheduler counts them: the last probe, and the changes since";
        self.encode_gauge("engine_sessions", help, |e| {
            Some(i64::from(e.sessions(now)))
        })?;
        let help = "Placed sessions that no probe has counted and no gateway has reported open";
        self.encode_gauge("engine_reservations", help, |e| {
            Some(i64::from(e.accounting.unconfirmed(now)))
        })?;
        let help = "1: the engine is drained or cordoned and gets no new sessions";
        self.encode_gauge("engine_draining", help, |e| {
            let draining = e.state == State::Draining || e.accounting.snapshot(now).draining;
            Some(i64::from(draining))
        })?;
        let help = "1: the engine is ejected after a failed placement, until a trial succeeds";
        self.encode_gauge("engine_ejected", help, |e| {
            Some(i64::from(
                e.accounting.snapshot(now).circuit != CircuitState::Closed,
            ))
        })?;
        let help = "Free memory at the last probe, in MB";
        self.encode_gauge("engine_memory_free_mb", help, |e| {
            Some(e.load.as_ref()?.memory?.free)
        })?;
        let help = "CPU in use at the last probe, 0 to 1";
        self.encode_gauge("engine_cpu", help, |e| e.load.as_ref()?.cpu)?;
        let help = "Seconds since the start of the probe that returned the load of the engine";
        self.encode_gauge("engine_load_age_seconds", help, |e| {
            Some(now.saturating_duration_since(e.probed_at?).as_secs_f64())
        })
    }

    /// Encodes a gauge of each engine for which `value` returns one.
    fn encode_gauge<N: EncodeGaugeValue + Copy>(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn(&Engine) -> Option<N>,
    ) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(0_i64).metric_type();
        let mut family = self.encoder.encode_descriptor(name, help, None, gauge)?;
        for pool in self.fleet.pools() {
            for engine in pool.engines.iter() {
                let Some(value) = value(engine) else { continue };
                let labels = [("pool", &*pool.name), ("engine", engine.name.as_str())];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
