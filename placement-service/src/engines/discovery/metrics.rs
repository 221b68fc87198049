//! The metrics of discoveries: `berth_discovery_failures_total` and `berth_discovery_up`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One series for each pool and source.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryMetrics {
    failures: Family<Labels, Counter>,
    up: Family<Labels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    pool: String,
    source: String,
}

impl DiscoveryMetrics {
    /// Registers both metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "discovery_failures",
            "Times that a source of engines returned no list",
            metrics.failures.clone(),
        );
        registry.register(
            "discovery_up",
            "1: the source works; 0: it fails, and its last list stays valid",
            metrics.up.clone(),
        );
        metrics
    }

    pub(super) fn record_success(&self, pool: &str, source: &str) {
        let labels = labels(pool, source);
        self.up.get_or_create(&labels).set(1);
        // Creates the series with 0, so that the first failure shows as an increase.
        drop(self.failures.get_or_create(&labels));
    }

    pub(super) fn record_failure(&self, pool: &str, source: &str) {
        let labels = labels(pool, source);
        self.up.get_or_create(&labels).set(0);
        self.failures.get_or_create(&labels).inc();
    }
}

fn labels(pool: &str, source: &str) -> Labels {
    Labels {
        pool: pool.to_owned(),
        source: source.to_owned(),
    }
}
