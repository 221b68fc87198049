//! What the placer counts. Labels are pool names and constants: nothing of a user.

use crate::metrics::registered;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

/// The placer's counters.
#[derive(Clone, Debug)]
pub(super) struct PlacerMetrics {
    placements: Family<OutcomeLabels, Counter>,
    attempts: Family<OutcomeLabels, Counter>,
    prepare: Family<PoolLabel, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    pool: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabel {
    pool: Arc<str>,
}

/// From 50 us, a TCP connect on one machine, up to 13 s, over the longest deadline that makes sense.
fn prepare_buckets() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 19))
}

impl PlacerMetrics {
    /// Makes them and puts them into the registry.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let prepare = Family::new_with_constructor(prepare_buckets as fn() -> Histogram);
        registry.register(
            "prepare_seconds",
            "How long an engine took to prepare a session, good or bad",
            prepare.clone(),
        );
        Self {
            placements: registered(
                registry,
                "placements",
                "Placements, by outcome: ok or the reason of the refusal",
            ),
            attempts: registered(
                registry,
                "placement_attempts",
                "Engines tried, by outcome: ok or the engine's fault",
            ),
            prepare,
        }
    }

    /// A placement has ended.
    pub(super) fn placed(&self, pool: &Arc<str>, outcome: &'static str) {
        count(&self.placements, pool, outcome);
    }

    /// An engine was tried.
    pub(super) fn attempted(&self, pool: &Arc<str>, outcome: &'static str, took: Duration) {
        count(&self.attempts, pool, outcome);
        let label = PoolLabel {
            pool: Arc::clone(pool),
        };
        self.prepare
            .get_or_create(&label)
            .observe(took.as_secs_f64());
    }
}

fn count(family: &Family<OutcomeLabels, Counter>, pool: &Arc<str>, outcome: &'static str) {
    let labels = OutcomeLabels {
        pool: Arc::clone(pool),
        outcome,
    };
    family.get_or_create(&labels).inc();
}
