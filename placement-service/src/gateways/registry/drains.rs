//! Which gateways belong to drained Envoys, and which of them must still be notified. A drain holds for the gateways
//! that ran when it began, so an Envoy that restarts under the same id is not drained. Sends nothing itself.

use super::{Gateway, Registry};
use crate::engines::drains::{Drain, SentDrain};
use berth_api::GatewayEvent;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The drain of one Envoy, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayDrain {
    #[serde(flatten)]
    pub drain: Drain,
    /// Its gateways refuse new WebSockets.
    pub refuse: bool,
}

/// The drains of Envoys, by `node.id`.
pub(in crate::gateways) type DrainRecords = BTreeMap<String, GatewayDrain>;

impl Gateway {
    /// The drain that holds for it.
    pub(super) fn drain(&self, drains: &DrainRecords) -> Option<GatewayDrain> {
        let drain = drains.get(self.identity.node.as_deref()?)?;
        (self.identity.started_ms <= drain.drain.since_ms).then_some(*drain)
    }
}

impl Registry {
    /// The events that gateways must receive because Envoys are drained or no longer drained. They count as sent.
    pub(in crate::gateways) fn take_drain_events(
        &mut self,
        drains: &DrainRecords,
        now_ms: u64,
    ) -> Vec<(Arc<str>, GatewayEvent)> {
        let mut events = Vec::new();
        for (name, gateway) in &mut self.gateways {
            let Some(GatewayDrain { drain, refuse }) = gateway.drain(drains) else {
                // A gateway may still refuse because another process sent the drain and not its end.
                let refused = std::mem::take(&mut gateway.identity.refusing);
                if gateway.sent_drain.take().is_some() || refused {
                    events.push((Arc::clone(name), GatewayEvent::GatewayUndrained));
                }
                continue;
            };
            let known = gateway.sent_drain.filter(|(_, refused)| *refused == refuse);
            let has_streams = || !gateway.streams.is_empty();
            let known = known.map(|(sent, _)| sent);
            let (sent, over_ms) = SentDrain::next(known, drain, now_ms, has_streams);
            gateway.sent_drain = Some((sent, refuse));
            if let Some(over_ms) = over_ms {
                let event = GatewayEvent::GatewayDrained { over_ms, refuse };
                events.push((Arc::clone(name), event));
            }
        }
        events
    }

    /// The number of gateways that are drained.
    pub(in crate::gateways) fn draining(&self) -> usize {
        let gateways = self.gateways.values();
        gateways.filter(|g| g.sent_drain.is_some()).count()
    }
}
