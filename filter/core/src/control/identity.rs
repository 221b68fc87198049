//! What a gateway reports about itself: its Envoy, the version of its filter, and how long it has run. Knows no host; the
//! caller passes what it has read there.

use berth_api::{GatewayIdentity, is_node_id, is_version};

/// The identity of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The `node.id` of the Envoy.
    pub node: Option<String>,
    /// The version of the filter.
    pub version: String,
    /// When the filter started in this worker, in milliseconds since 1970.
    pub started_at: u64,
}

impl Identity {
    /// The identity as it is reported. A text that the service would not accept is left out, since the service refuses
    /// the whole report for it.
    #[must_use]
    pub fn describe(&self, now: u64, refusing: bool) -> GatewayIdentity {
        GatewayIdentity {
            node: self.node.clone().filter(|node| is_node_id(node)),
            version: Some(self.version.clone()).filter(|version| is_version(version)),
            uptime_ms: now.saturating_sub(self.started_at),
            refusing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn texts_that_the_service_refuses_are_left_out() {
        let identity = |node: &str, version: &str| Identity {
            node: Some(node.to_owned()),
            version: version.to_owned(),
            started_at: 1_000,
        };
        let valid = identity("sidecar~10.0.0.1~a.b", "1.2.3-rc.1+7").describe(3_000, false);
        assert_eq!(valid.node.as_deref(), Some("sidecar~10.0.0.1~a.b"));
        assert_eq!(valid.version.as_deref(), Some("1.2.3-rc.1+7"));
        assert_eq!(valid.uptime_ms, 2_000);
        let long = "x".repeat(257);
        for (node, version) in [("", ""), ("a b", "1 2"), ("a\nb", "\u{e9}"), (&long, &long)] {
            let invalid = identity(node, version).describe(0, true);
            assert_eq!((invalid.node, invalid.version), (None, None), "{node:?}");
            assert_eq!((invalid.uptime_ms, invalid.refusing), (0, true));
        }
    }
}
