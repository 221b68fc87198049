//! The streams that gateways report, as Prometheus metrics. Gauges are computed at scrape time, so that an engine
//! without streams has no series.

use super::Shared;
use crate::core::metrics::{register_metric, start_at_zero};
use berth_api::CloseReason;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// The reason of streams that are gone although no report closed them.
const LOST: &str = "lost";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// `berth_streams_closed_total`, `berth_gateway_resyncs_total`.
pub(super) struct GatewayMetrics {
    closed: Family<ReasonLabel, Counter>,
    resyncs: Counter,
}

impl GatewayMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let closed = register_metric(registry, "streams_closed", "Streams closed, by reason");
        let reasons = CloseReason::ALL.map(CloseReason::as_str);
        let labels = reasons.into_iter().chain([LOST]);
        start_at_zero(&closed, labels.map(|reason| ReasonLabel { reason }));
        Self {
            closed,
            resyncs: register_metric(
                registry,
                "gateway_resyncs",
                "Full lists of streams requested from gateways",
            ),
        }
    }

    pub(super) fn count_closed(&self, reason: CloseReason) {
        let reason = reason.as_str();
        self.closed.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(super) fn count_lost(&self, streams: usize) {
        if streams > 0 {
            let lost_streams = self.closed.get_or_create(&ReasonLabel { reason: LOST });
            lost_streams.inc_by(u64::try_from(streams).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn count_resync(&self) {
        self.resyncs.inc();
    }
}

/// `berth_streams`, `berth_gateways`, `berth_gateways_draining`, `berth_gateways_other_version`,
/// `berth_gateway_silence_seconds`.
pub(super) struct GatewayCollector(pub(super) Arc<Shared>);

impl fmt::Debug for GatewayCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayCollector")
    }
}

impl Collector for GatewayCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let registry = self.0.registry();
        let gateways = registry.gateways(Instant::now());
        let engines = registry.engines();
        let engines: Vec<_> = engines
            .map(|(pool, engine, streams)| (pool.to_owned(), engine.to_owned(), streams))
            .collect();
        let (draining, other_versions) = (registry.draining(), registry.other_versions());
        drop(registry);
        let gauge = ConstGauge::new(0_i64).metric_type();
        let mut family =
            encoder.encode_descriptor("streams", "Streams that are open", None, gauge)?;
        for (pool, engine, streams) in &engines {
            let labels = [("pool", pool.as_str()), ("engine", engine.as_str())];
            const_gauge(*streams).encode(family.encode_family(&labels)?)?;
        }
        let count = const_gauge(gateways.len());
        count.encode(encoder.encode_descriptor(
            "gateways",
            "Gateways that report",
            None,
            gauge,
        )?)?;
        let help = "Gateways whose Envoy is drained";
        let family = encoder.encode_descriptor("gateways_draining", help, None, gauge)?;
        const_gauge(draining).encode(family)?;
        let help = "Gateways whose filter has another version than this service";
        let family = encoder.encode_descriptor("gateways_other_version", help, None, gauge)?;
        const_gauge(other_versions).encode(family)?;
        let longest_s = gateways.iter().map(|g| g.silent_s).max().unwrap_or(0);
        let gauge_value = ConstGauge::new(i64::try_from(longest_s).unwrap_or(i64::MAX));
        let help = "Seconds since the last report of the gateway that has been silent longest";
        let metric = encoder.encode_descriptor("gateway_silence_seconds", help, None, gauge)?;
        gauge_value.encode(metric)
    }
}

fn const_gauge(count: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
}
