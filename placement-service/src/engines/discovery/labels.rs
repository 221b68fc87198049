//! The labels with which an engine in Docker, swarm or Kubernetes overrides the configured ports, and the log of
//! engines that cannot be used. Does not know how a source reads labels.

use berth_api::Excerpt;
use berth_scheduler::engine::Endpoint;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use tracing::warn;

/// Label: the port of WebSockets and the healthcheck.
const API_PORT: &str = "qix-engine-api-port";
/// Label: the port of Prometheus metrics.
const METRICS_PORT: &str = "qix-engine-metrics-port";

/// Ports of engines without such labels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) api: u16,
    pub(super) metrics: Option<u16>,
}

impl Ports {
    /// The ports of an engine with labels. `label` returns the value of one of them.
    ///
    /// # Errors
    /// When the value of a label is not a port: the endpoint of the engine is unknown then.
    pub(super) fn with_labels<T: AsRef<str>>(
        self,
        label: impl Fn(&str) -> Option<T>,
    ) -> Result<Self, String> {
        let port = |name: &str| {
            let Some(text) = label(name) else {
                return Ok(None);
            };
            let text = text.as_ref();
            match text.trim().parse() {
                Ok(port) if port > 0 => Ok(Some(port)),
                _ => Err(format!("label {name} is \"{}\", not a port", Excerpt(text))),
            }
        };
        Ok(Self {
            api: port(API_PORT)?.unwrap_or(self.api),
            metrics: port(METRICS_PORT)?.or(self.metrics),
        })
    }

    /// The endpoint of an engine with these ports.
    pub(super) fn endpoint(self, ip: IpAddr) -> Endpoint {
        Endpoint {
            api: SocketAddr::new(ip, self.api),
            metrics: self.metrics.map(|port| SocketAddr::new(ip, port)),
        }
    }
}

/// Maximum number of log lines about skipped engines per list, because a source may have any number of them.
const MAX_LOGGED: usize = 20;

/// The engines that cannot be used. Each is logged once, and again only after it was usable.
#[derive(Debug, Default)]
pub(super) struct SkippedEngines(BTreeSet<String>);

impl SkippedEngines {
    /// Takes the reasons for all skipped engines of a complete list, and logs the new ones.
    pub(super) fn update(&mut self, now: Vec<String>) {
        let now: BTreeSet<String> = now.into_iter().collect();
        let mut new_messages = now.difference(&self.0);
        for message in new_messages.by_ref().take(MAX_LOGGED) {
            warn!("an engine is left out: {}", Excerpt(message));
        }
        let remaining = new_messages.count();
        if remaining > 0 {
            warn!("{remaining} more engines are left out");
        }
        self.0 = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_override_ports_and_invalid_values_are_reported() {
        let ports = Ports {
            api: 9076,
            metrics: Some(9090),
        };
        let plain = ports.with_labels(|_| None::<&str>).unwrap();
        let plain = plain.endpoint(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(
            (plain.api.port(), plain.metrics.unwrap().port()),
            (9076, 9090)
        );
        let other = ports.with_labels(|name| (name == API_PORT).then_some("19076"));
        assert_eq!(other.unwrap().api, 19076);
        for invalid in ["", "0", "70000", "http"] {
            let fault = ports.with_labels(|name| (name == METRICS_PORT).then_some(invalid));
            assert!(fault.unwrap_err().contains(METRICS_PORT));
        }
    }
}
