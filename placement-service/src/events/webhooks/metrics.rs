//! Metrics of webhook deliveries. Label values are names from the configuration and constants.

use crate::core::metrics::{register_metric, start_at_zero};
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
            deliveries: register_metric(
                registry,
                "webhook_deliveries",
                "Delivery attempts of webhooks, by result: ok, failed, or dead-letter for the last attempt",
            ),
            lag: register_metric(
                registry,
                "webhook_lag",
                "Entries of the event log not yet delivered to the webhook; set by the delivering replica",
            ),
            missed: register_metric(
                registry,
                "webhook_missed",
                "Entries trimmed from the event log before they were delivered to the webhook",
            ),
        }
    }

    /// Starts the counters of a webhook.
    pub(super) fn start(&self, webhook: &str) {
        let results = ["ok", "failed", "dead-letter"].map(|result| ResultLabels {
            webhook: webhook.to_owned(),
            result,
        });
        start_at_zero(&self.deliveries, results);
        start_at_zero(&self.missed, [name_label(webhook)]);
    }

    /// Counts an attempt with its result: `ok`, `failed` or `dead-letter`.
    pub(super) fn count_delivery(&self, webhook: &str, result: &'static str) {
        let webhook = webhook.to_owned();
        let labels = ResultLabels { webhook, result };
        self.deliveries.get_or_create(&labels).inc();
    }

    /// Sets the number of entries still to be processed.
    pub(super) fn set_lag(&self, webhook: &str, entries: u64) {
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        self.lag.get_or_create(&name_label(webhook)).set(entries);
    }

    /// Removes the lag, because another replica delivers and reports it.
    pub(super) fn remove_lag(&self, webhook: &str) {
        self.lag.remove(&name_label(webhook));
    }

    /// Counts entries that were trimmed before they were delivered.
    pub(super) fn count_missed(&self, webhook: &str, entries: u64) {
        self.missed
            .get_or_create(&name_label(webhook))
            .inc_by(entries);
    }
}

fn name_label(webhook: &str) -> NameLabel {
    let webhook = webhook.to_owned();
    NameLabel { webhook }
}
