//! Engines in Kubernetes: the pods with a label, or the EndpointSlices of a Service. Chooses what is watched, and knows
//! what both have in common: an engine has one address and ports with numbers or names.

mod connection;
mod pods;
mod slices;
mod watch;

use super::labels::Ports;
use super::{DiscoveredEngine, Discovery, DiscoveryFault};
use crate::config::{EnginePort, KubernetesObjects, KubernetesSource};
use async_trait::async_trait;
use connection::Connection;
use k8s_openapi::NamespaceResourceScope;
use pods::WatchedPods;
use slices::WatchedSlices;
use watch::ObjectWatch;

/// The discovery in a cluster.
pub struct Kubernetes(Objects);

enum Objects {
    Pods(ObjectWatch<WatchedPods>),
    EndpointSlices(ObjectWatch<WatchedSlices>),
}

/// An engine in an object of the cluster.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Engine(DiscoveredEngine),
    /// Why it is not usable as an engine.
    Skipped(String),
}

/// A kind of object in which engines are found.
trait EngineObjects: Send + 'static {
    type Object: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static;

    /// The label selector of the watch.
    fn selector(&self) -> String;

    /// The engines of an object.
    fn entries(&self, object: &Self::Object) -> Vec<Entry>;
}

impl Kubernetes {
    /// The discovery in the configured cluster: of the kubeconfig, as `kubectl` finds it, or of the pod's service account.
    #[must_use]
    pub fn new(config: &KubernetesSource) -> Self {
        Self::with_connection(Connection::new(None, config), config)
    }

    /// The discovery in a given cluster.
    #[must_use]
    pub fn with_cluster(cluster: kube::Config, config: &KubernetesSource) -> Self {
        Self::with_connection(Connection::new(Some(cluster), config), config)
    }

    fn with_connection(connection: Connection, config: &KubernetesSource) -> Self {
        Self(match config.objects() {
            KubernetesObjects::Pods { selector } => {
                let pods = WatchedPods::new(selector, config);
                Objects::Pods(ObjectWatch::new(connection, pods))
            }
            KubernetesObjects::EndpointSlices { service } => {
                let slices = WatchedSlices::new(service, config);
                Objects::EndpointSlices(ObjectWatch::new(connection, slices))
            }
        })
    }
}

#[async_trait]
impl Discovery for Kubernetes {
    async fn next(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
        match &mut self.0 {
            Objects::Pods(watch) => watch.next().await,
            Objects::EndpointSlices(watch) => watch.next().await,
        }
    }
}

/// The number of a configured port. `named` looks a name up in an object.
///
/// # Errors
/// When the object has no TCP port with the name.
fn port_number(port: &EnginePort, named: impl Fn(&str) -> Option<u16>) -> Result<u16, String> {
    match port {
        EnginePort::Number(number) => Ok(*number),
        EnginePort::Name(name) => named(name).ok_or_else(|| format!("no TCP port is named {name}")),
    }
}

/// The ports of an engine, by number or by name.
///
/// # Errors
/// When the object has no TCP port with a name.
fn resolve_ports(
    api: &EnginePort,
    metrics: Option<&EnginePort>,
    named: impl Fn(&str) -> Option<u16>,
) -> Result<Ports, String> {
    let metrics = metrics.map(|port| port_number(port, &named));
    Ok(Ports {
        api: port_number(api, &named)?,
        metrics: metrics.transpose()?,
    })
}

/// Whether a port is one of TCP, the default. `number` is 1 to 65535 then.
fn tcp_port(number: i32, protocol: Option<&str>) -> Option<u16> {
    let is_tcp = protocol.is_none_or(|protocol| protocol == "TCP");
    u16::try_from(number)
        .ok()
        .filter(|number| is_tcp && *number > 0)
}
