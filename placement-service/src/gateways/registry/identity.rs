//! What gateways have reported about themselves: their Envoy, the version of their filter, and when it started. Notices
//! filters of another version than this service. Knows no store and sends nothing.

use super::{Gateway, Registry};
use berth_api::GatewayIdentity;
use std::net::IpAddr;
use std::sync::Arc;

/// The version of this service.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The identity of a gateway; the default until it sends one.
#[derive(Debug)]
pub(super) struct Identity {
    /// The id of its Envoy.
    pub(super) node: Option<Arc<str>>,
    pub(super) version: Option<String>,
    /// When its filter started, in milliseconds since the Unix epoch, by the clock of this process; `u64::MAX` if that
    /// is unknown.
    pub(super) started_ms: u64,
    /// It refuses new WebSockets, by its own last report.
    pub(super) refusing: bool,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            node: None,
            version: None,
            started_ms: u64::MAX,
            refusing: false,
        }
    }
}

impl Identity {
    /// Whether its filter has another version than this service.
    pub(super) fn is_other_version(&self) -> bool {
        self.version.as_deref().is_some_and(|v| v != VERSION)
    }
}

impl Gateway {
    /// The id of its Envoy, for logs.
    pub(super) fn node(&self) -> &str {
        let node = self.identity.node.as_deref();
        node.unwrap_or("-")
    }
}

impl Registry {
    /// Stores what a gateway reports about itself. Warns once of each gateway whose filter has another version.
    pub(super) fn identify(&mut self, name: &str, reported: &GatewayIdentity, now_ms: u64) {
        let Some(gateway) = self.gateways.get_mut(name) else {
            return;
        };
        let was_other = gateway.identity.is_other_version();
        let was_known = gateway.identity.version.is_some();
        // A clock that is set forward must not make an old gateway look like one that has just started.
        let known_start = gateway.identity.started_ms;
        gateway.identity = Identity {
            node: reported.node.as_deref().map(Arc::from),
            version: reported.version.clone(),
            started_ms: now_ms.saturating_sub(reported.uptime_ms).min(known_start),
            refusing: reported.refusing,
        };
        let (node, version) = (gateway.node(), reported.version.as_deref().unwrap_or("-"));
        if gateway.identity.is_other_version() && !was_other {
            tracing::warn!(
                gateway = name,
                node,
                filter = version,
                service = VERSION,
                "the filter of a gateway has another version than this service"
            );
        } else if !was_known {
            tracing::info!(gateway = name, node, filter = version, "gateway reports");
        }
    }

    /// Stores the address that a gateway reports from.
    pub(in crate::gateways) fn set_address(&mut self, name: &str, address: IpAddr) {
        if let Some(gateway) = self.gateways.get_mut(name) {
            gateway.address = Some(address);
        }
    }

    /// The number of gateways whose filter has another version than this service.
    pub(in crate::gateways) fn other_versions(&self) -> usize {
        let gateways = self.gateways.values();
        gateways.filter(|g| g.identity.is_other_version()).count()
    }
}
