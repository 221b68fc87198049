//! What deliveries count. Labels are names of the configuration and constants.

use crate::core::metrics::registered;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone)]
pub(super) struct WebhookMetrics {
    deliveries: Family<ResultLabels, Counter>,
    lag: Family<NameLabel, Gauge>,
    missed: Family<NameLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    webhook: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    webhook: String,
}

impl WebhookMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            deliveries: registered(
                registry,
                "webhook_deliveries",
                "Attempts to tell a webhook of an event, by result: ok, failed, or dead-letter for the last one",
            ),
            lag: registered(
                registry,
                "webhook_lag",
                "Entries of the event log that the webhook has not got yet; of the delivering replica",
            ),
            missed: registered(
                registry,
                "webhook_missed",
                "Entries that left the event log before the webhook got them",
            ),
        }
    }

    /// An attempt: `ok`, `failed` or `dead-letter`.
    pub(super) fn delivery(&self, webhook: &str, result: &'static str) {
        let webhook = webhook.to_owned();
        let labels = ResultLabels { webhook, result };
        self.deliveries.get_or_create(&labels).inc();
    }

    /// So many entries are still to be looked at.
    pub(super) fn lag(&self, webhook: &str, entries: u64) {
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        self.lag.get_or_create(&name(webhook)).set(entries);
    }

    /// Another replica delivers: what is still to do is its to tell.
    pub(super) fn no_lag(&self, webhook: &str) {
        self.lag.remove(&name(webhook));
    }

    /// Entries were trimmed before they were delivered.
    pub(super) fn missed(&self, webhook: &str, entries: u64) {
        self.missed.get_or_create(&name(webhook)).inc_by(entries);
    }
}

fn name(webhook: &str) -> NameLabel {
    let webhook = webhook.to_owned();
    NameLabel { webhook }
}
