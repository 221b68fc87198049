//! The metrics of the shared ledger.

use crate::core::metrics::{register_metric, start_at_zero};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the ledger may answer to a reservation.
const OUTCOMES: [&str; 6] = [
    "ok",
    "engine-full",
    "pool-full",
    "settling",
    "lease-expired",
    "unavailable",
];

/// The metrics of the ledger. They do not exist without a shared ledger.
pub(super) struct LedgerMetrics {
    up: Gauge,
    replicas: Gauge,
    prober: Gauge,
    failures: Counter,
    reservations: Family<OutcomeLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl LedgerMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let help = "Placements under a limit, by the result of the shared ledger";
        let reservations = register_metric(registry, "ledger_reservations", help);
        let labels = OUTCOMES.map(|outcome| OutcomeLabels { outcome });
        start_at_zero(&reservations, labels);
        Self {
            up: register_metric(
                registry,
                "ledger_up",
                "1: the shared ledger responds and has all streams of this replica",
            ),
            replicas: register_metric(registry, "ledger_replicas", "Replicas that are alive"),
            prober: register_metric(registry, "ledger_prober", "1: this replica is the prober"),
            failures: register_metric(
                registry,
                "ledger_failures",
                "Times that the shared ledger stopped responding",
            ),
            reservations,
        }
    }

    pub(super) fn record_reservation(&self, outcome: &'static str) {
        self.reservations
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
    }

    pub(super) fn record_loss(&self) {
        self.failures.inc();
    }

    pub(super) fn set_status(&self, is_up: bool, replicas: u32, is_prober: bool) {
        self.up.set(is_up.into());
        self.replicas.set(replicas.into());
        self.prober.set(is_prober.into());
    }
}
