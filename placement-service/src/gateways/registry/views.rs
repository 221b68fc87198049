//! Read access to the registry: gateways, streams by engine, and the gateways of a session.

use super::{Gateway, Registry};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::time::Instant;
use utoipa::ToSchema;

/// A gateway as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct GatewayView {
    pub gateway: String,
    pub streams: usize,
    /// Seconds since its last report.
    pub silent_s: u64,
    /// Its full list has been requested: `streams` may be wrong until it arrives.
    pub resync: bool,
}

impl Registry {
    /// The gateways, sorted by name.
    pub(in crate::gateways) fn gateways(&self, now: Instant) -> Vec<GatewayView> {
        let view = |(name, gateway): (&Arc<str>, &Gateway)| GatewayView {
            gateway: name.to_string(),
            streams: gateway.streams.len(),
            silent_s: now.saturating_duration_since(gateway.heard).as_secs(),
            resync: gateway.resync,
        };
        let mut views: Vec<_> = self.gateways.iter().map(view).collect();
        views.sort_by(|a, b| a.gateway.cmp(&b.gateway));
        views
    }

    /// The number of streams of each engine that has any: pool, engine, count.
    pub(in crate::gateways) fn engines(&self) -> impl Iterator<Item = (&str, &str, usize)> {
        let counted = self.engines.iter();
        counted.map(|((pool, name), streams)| (&**pool, name.as_str(), *streams))
    }

    /// The gateways that have streams of a session.
    pub(in crate::gateways) fn gateways_of(&self, session_ref: &str) -> HashSet<Arc<str>> {
        let names = self.sessions.streams(session_ref);
        let streams = names.filter_map(|name| self.streams.get(name));
        streams.map(|stream| Arc::clone(&stream.gateway)).collect()
    }
}
