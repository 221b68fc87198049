//! Tells gateways of engines that keys do not stay on any more, because probes do not reach them, or because they are
//! drained or removed: the next plain request of a key there calls the service again. Moves no key.

use super::Shared;
use berth_api::GatewayEvent;
use berth_scheduler::engine::EngineName;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The engines that gateways may know, as of the last look.
#[derive(Default)]
pub(super) struct EngineClosures(BTreeSet<(Arc<str>, EngineName)>);

impl EngineClosures {
    /// Sends an event for each engine that was usable at the last look and is not now.
    pub(super) fn send(&mut self, shared: &Shared) {
        let usable = shared.placement.engines_of_keys();
        let now_ms = shared.clock.now_ms();
        for (pool, engine) in self.0.difference(&usable) {
            let event = GatewayEvent::EngineClosed {
                pool: pool.to_string(),
                engine: engine.to_string(),
            };
            shared.outbox.push(None, event, now_ms);
        }
        self.0 = usable;
    }
}
