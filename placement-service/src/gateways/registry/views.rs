//! Read access to the registry: gateways, streams by engine, and the gateways of a session.

use super::{Gateway, Registry};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::Instant;
use utoipa::ToSchema;

/// A gateway as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayView {
    pub gateway: String,
    /// The `node.id` of its Envoy.
    pub node: Option<String>,
    /// The address that it reports from: that of its Envoy, or of a proxy between.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The version of its filter.
    pub version: Option<String>,
    pub streams: usize,
    /// The number of its last report.
    pub sequence: u64,
    /// Seconds since its last report.
    pub silent_s: u64,
    /// Its full list has been requested: `streams` may be wrong until it arrives.
    pub resync: bool,
    /// Its Envoy is drained.
    pub draining: bool,
    /// It refuses new WebSockets.
    pub refusing: bool,
}

impl Registry {
    /// The gateways, sorted by name.
    pub(in crate::gateways) fn gateways(&self, now: Instant) -> Vec<GatewayView> {
        let view = |(name, gateway): (&Arc<str>, &Gateway)| GatewayView {
            gateway: name.to_string(),
            node: gateway.identity.node.as_deref().map(str::to_owned),
            address: gateway.address,
            version: gateway.identity.version.clone(),
            streams: gateway.streams.len(),
            sequence: gateway.sequence,
            silent_s: now.saturating_duration_since(gateway.last_report).as_secs(),
            resync: gateway.resync,
            draining: gateway.sent_drain.is_some(),
            refusing: gateway.sent_drain.is_some_and(|(_, refuse)| refuse),
        };
        let mut views: Vec<_> = self.gateways.iter().map(view).collect();
        views.sort_by(|a, b| a.gateway.cmp(&b.gateway));
        views
    }

    /// The number of streams of each engine that has any: pool, engine, count.
    pub(in crate::gateways) fn engines(&self) -> impl Iterator<Item = (&str, &str, usize)> {
        let counts = self.engines.iter();
        counts.map(|((pool, name), streams)| (&**pool, name.as_str(), *streams))
    }

    /// The gateways that have streams of a session.
    pub(in crate::gateways) fn gateways_of(&self, session_ref: &str) -> HashSet<Arc<str>> {
        let names = self.sessions.streams(session_ref);
        let streams = names.filter_map(|name| self.streams.get(name));
        streams.map(|stream| Arc::clone(&stream.gateway)).collect()
    }
}
