//! The limits of the registry, so that no gateway exhausts the memory. A report beyond them is rejected as a whole.
//! Only new streams count, so a full list of known streams is never rejected.

use super::Registry;
use berth_api::GatewayReport;
use std::collections::HashSet;
use std::sync::Arc;

/// Maximum number of gateways. Each is one worker of one Envoy.
pub(super) const MAX_GATEWAYS: usize = 4096;
/// Maximum number of streams of one gateway.
pub(super) const MAX_STREAMS_PER_GATEWAY: usize = 100_000;
/// Maximum number of streams of all gateways.
const MAX_STREAMS: usize = 1_000_000;

/// The limit that a report exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateways) enum LimitExceeded {
    Gateways,
    Streams,
}

impl Registry {
    /// The gateway's shared name, if what it reports fits into the limits.
    pub(super) fn admit(
        &self,
        name: &str,
        report: &GatewayReport,
    ) -> Result<Arc<str>, LimitExceeded> {
        let (key, streams) = match self.gateways.get_key_value(name) {
            Some((name, gateway)) => (Arc::clone(name), Some(&gateway.streams)),
            None if self.gateways.len() >= MAX_GATEWAYS => return Err(LimitExceeded::Gateways),
            None => (Arc::from(name), None),
        };
        let (gateway_streams, all_streams) = (streams.map_or(0, HashSet::len), self.streams.len());
        let fits = |added_here, added| {
            gateway_streams + added_here <= MAX_STREAMS_PER_GATEWAY
                && all_streams + added <= MAX_STREAMS
        };
        let opened = report.opened.len();
        // Far below the limits, no stream needs to be looked up.
        if fits(opened, opened) {
            return Ok(key);
        }
        let names = report.opened.iter().map(|stream| stream.stream.as_str());
        let mut new_names: HashSet<&str> = names.collect();
        new_names.retain(|name| !streams.is_some_and(|streams| streams.contains(*name)));
        let new_streams = new_names.len();
        new_names.retain(|name| !self.streams.contains_key(*name));
        if fits(new_streams, new_names.len()) {
            Ok(key)
        } else {
            Err(LimitExceeded::Streams)
        }
    }
}
