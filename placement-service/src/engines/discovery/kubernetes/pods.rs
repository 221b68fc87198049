//! Engines as pods with a label. A terminating pod is drained, and a pod that is not ready gets no new sessions. A pod
//! that has no address or does not run is not an engine.

use super::super::labels::Ports;
use super::super::{DesiredState, DiscoveredEngine};
use super::{EngineObjects, Entry, resolve_ports, tcp_port};
use crate::config::{EnginePort, KubernetesSource};
use berth_scheduler::engine::EngineName;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The pods of a label selector.
pub(super) struct WatchedPods {
    selector: String,
    all_namespaces: bool,
    port: EnginePort,
    metrics_port: Option<EnginePort>,
}

impl WatchedPods {
    pub(super) fn new(selector: String, config: &KubernetesSource) -> Self {
        Self {
            selector,
            all_namespaces: config.all_namespaces,
            port: config.port.clone(),
            metrics_port: config.metrics_port.clone(),
        }
    }

    fn parse(&self, pod: &Pod) -> Option<Entry> {
        let status = pod.status.as_ref()?;
        if status.phase.as_deref() != Some("Running") {
            return None;
        }
        let ip: IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
        let meta = &pod.metadata;
        let name = meta.name.clone()?;
        let name = match &meta.namespace {
            Some(namespace) if self.all_namespaces => format!("{namespace}.{name}"),
            _ => name,
        };
        let mark = |key: &str| {
            let value_of =
                |map: &'_ Option<BTreeMap<String, String>>| map.as_ref()?.get(key).cloned();
            value_of(&meta.labels).or_else(|| value_of(&meta.annotations))
        };
        let ports = match self.ports(pod).and_then(|ports| ports.with_labels(mark)) {
            Ok(ports) => ports,
            Err(reason) => return Some(Entry::Skipped(format!("{name}: {reason}"))),
        };
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let mut conditions = conditions.iter();
        let is_ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
        let desired_state = if meta.deletion_timestamp.is_some() {
            DesiredState::Draining
        } else if is_ready {
            DesiredState::Active
        } else {
            DesiredState::Cordoned
        };
        Some(Entry::Engine(DiscoveredEngine {
            name: EngineName::from(name.as_str()),
            endpoint: ports.endpoint(ip),
            incarnation: meta.uid.as_deref().map(Arc::from),
            desired_state,
        }))
    }

    fn ports(&self, pod: &Pod) -> Result<Ports, String> {
        let named = |name: &str| {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            ports.find_map(|port| {
                let is_named = port.name.as_deref() == Some(name);
                let number = tcp_port(port.container_port, port.protocol.as_deref());
                number.filter(|_| is_named)
            })
        };
        resolve_ports(&self.port, self.metrics_port.as_ref(), named)
    }
}

impl EngineObjects for WatchedPods {
    type Object = Pod;

    fn selector(&self) -> String {
        self.selector.clone()
    }

    fn entries(&self, pod: &Pod) -> Vec<Entry> {
        self.parse(pod).into_iter().collect()
    }
}
