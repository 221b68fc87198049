//! Engines as endpoints of a Service. A terminating endpoint is drained, and one that is not ready gets no new sessions.
//! An engine has the name of its pod, or of its address when there is no pod.

use super::super::labels::Ports;
use super::super::{DesiredState, DiscoveredEngine, address_name};
use super::{EngineObjects, Entry, resolve_ports, tcp_port};
use crate::config::{EnginePort, KubernetesSource};
use berth_api::Excerpt;
use berth_scheduler::engine::EngineName;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The label with the name of the Service that a slice belongs to.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The EndpointSlices of a Service.
pub(super) struct WatchedSlices {
    service: String,
    port: EnginePort,
    metrics_port: Option<EnginePort>,
}

impl WatchedSlices {
    pub(super) fn new(service: String, config: &KubernetesSource) -> Self {
        Self {
            service,
            port: config.port.clone(),
            metrics_port: config.metrics_port.clone(),
        }
    }

    fn ports(&self, slice: &EndpointSlice) -> Result<Ports, String> {
        if !matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
            let kind = Excerpt(&slice.address_type);
            return Err(format!(
                "the addresses are of the type {kind}, not IPv4 or IPv6"
            ));
        }
        let named = |name: &str| {
            let mut ports = slice.ports.iter().flatten();
            let port = ports.find(|port| port.name.as_deref() == Some(name))?;
            tcp_port(port.port?, port.protocol.as_deref())
        };
        resolve_ports(&self.port, self.metrics_port.as_ref(), named)
    }
}

impl EngineObjects for WatchedSlices {
    type Object = EndpointSlice;

    fn selector(&self) -> String {
        format!("{SERVICE_LABEL}={}", self.service)
    }

    fn entries(&self, slice: &EndpointSlice) -> Vec<Entry> {
        let endpoints = slice.endpoints.as_deref().unwrap_or_default();
        match self.ports(slice) {
            Ok(ports) => endpoints.iter().map(|one| parse(one, ports)).collect(),
            Err(_) if endpoints.is_empty() => Vec::new(),
            Err(reason) => {
                let name = slice.metadata.name.as_deref().unwrap_or_default();
                vec![Entry::Skipped(format!("EndpointSlice {name}: {reason}"))]
            }
        }
    }
}

fn parse(endpoint: &Endpoint, ports: Ports) -> Entry {
    // Further addresses of an endpoint have no defined meaning.
    let address = endpoint.addresses.first().map_or("", String::as_str);
    let Ok(ip) = address.parse::<IpAddr>() else {
        let reason = format!("endpoint \"{}\": not an IP address", Excerpt(address));
        return Entry::Skipped(reason);
    };
    let target = endpoint.target_ref.as_ref();
    let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
    let name = match pod.and_then(|pod| pod.name.as_deref()) {
        Some(name) => EngineName::from(name),
        None => address_name(SocketAddr::new(ip, ports.api)),
    };
    Entry::Engine(DiscoveredEngine {
        name,
        endpoint: ports.endpoint(ip),
        incarnation: pod.and_then(|pod| pod.uid.as_deref()).map(Arc::from),
        desired_state: desired_state(endpoint.conditions.as_ref()),
    })
}

/// Absent conditions are those of an endpoint that is ready. With `publishNotReadyAddresses` an endpoint is always `ready`,
/// so `serving` counts as well.
fn desired_state(conditions: Option<&EndpointConditions>) -> DesiredState {
    let is = |condition: fn(&EndpointConditions) -> Option<bool>, default| {
        conditions.and_then(condition).unwrap_or(default)
    };
    if is(|c| c.terminating, false) {
        DesiredState::Draining
    } else if is(|c| c.ready, true) && is(|c| c.serving, true) {
        DesiredState::Active
    } else {
        DesiredState::Cordoned
    }
}
