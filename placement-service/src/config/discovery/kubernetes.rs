//! Settings of the discovery in a Kubernetes cluster: by the labels of pods, or by the EndpointSlices of a Service.

use super::{label, metrics_port};
use crate::config::fault_collector::FaultCollector;
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::PathBuf;

/// Engines of a Kubernetes cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesSource {
    /// A label selector of pods, such as `app=engine`. Without it and `service`: every pod with the label `qix-engine`.
    #[serde(default)]
    pub selector: Option<String>,
    /// The name of a Service, whose EndpointSlices are the engines. Either this or `selector`.
    #[serde(default)]
    pub service: Option<String>,
    /// The namespace of the placement service itself when absent.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Only with `selector`: a Service is in one namespace.
    #[serde(default)]
    pub all_namespaces: bool,
    #[serde(default = "api_port")]
    pub port: EnginePort,
    #[serde(default = "named_metrics_port")]
    pub metrics_port: Option<EnginePort>,
    /// For use outside of a cluster; when absent, `KUBECONFIG`, `~/.kube/config` or the pod's service account.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; the current one when absent.
    #[serde(default)]
    pub context: Option<String>,
}

/// The objects of the cluster in which the engines are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubernetesObjects {
    /// Pods with these labels.
    Pods { selector: String },
    /// The EndpointSlices of a Service.
    EndpointSlices { service: String },
}

impl KubernetesSource {
    /// The objects to watch.
    #[must_use]
    pub fn objects(&self) -> KubernetesObjects {
        match &self.service {
            Some(service) => KubernetesObjects::EndpointSlices {
                service: service.clone(),
            },
            None => KubernetesObjects::Pods {
                selector: self.selector.clone().unwrap_or_else(label),
            },
        }
    }

    pub(super) fn check(&self, path: &str, faults: &mut FaultCollector) {
        let field = |name: &str| format!("{path}.{name}");
        let ports = [
            ("port", Some(&self.port)),
            ("metrics_port", self.metrics_port.as_ref()),
        ];
        for (name, port) in ports {
            if port.is_some_and(|port| !port.is_valid()) {
                let message = "must be 1 to 65535, or the name of a port: at most 63 lower-case letters, digits and -";
                faults.add(field(name), message);
            }
        }
        let printable = |c: char| c.is_ascii_graphic() || c == ' ';
        let is_selector = |text: &String| !text.is_empty() && text.chars().all(printable);
        if !self.selector.as_ref().is_none_or(is_selector) {
            faults.add(field("selector"), "must be a label selector");
        }
        if let Some(service) = &self.service {
            if !is_label(service) {
                let message =
                    "must be the name of a Service: at most 63 lower-case letters, digits and -";
                faults.add(field("service"), message);
            }
            if self.selector.is_some() {
                faults.add(field("service"), "excludes selector");
            }
            if self.all_namespaces {
                let message = "excludes all_namespaces: a Service is in one namespace";
                faults.add(field("service"), message);
            }
        }
        if self.all_namespaces && self.namespace.is_some() {
            faults.add(field("namespace"), "excludes all_namespaces");
        }
        if let Some(namespace) = &self.namespace {
            faults.check_name(&field("namespace"), namespace);
        }
        if self.context.is_some() && self.kubeconfig.is_none() {
            faults.add(field("context"), "has no effect without kubeconfig");
        }
    }
}

/// A port of an engine: its number, or its name in the containers of the pod or in the EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnginePort {
    Number(u16),
    Name(String),
}

impl EnginePort {
    /// A name without a letter would be a number in quotes.
    fn is_valid(&self) -> bool {
        match self {
            Self::Number(number) => *number > 0,
            Self::Name(name) => is_label(name) && name.contains(|c: char| c.is_ascii_lowercase()),
        }
    }
}

impl<'de> Deserialize<'de> for EnginePort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

struct PortVisitor;

impl Visitor<'_> for PortVisitor {
    type Value = EnginePort;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number or the name of a port")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<EnginePort, E> {
        let invalid = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
        u16::try_from(number)
            .map(EnginePort::Number)
            .map_err(invalid)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<EnginePort, E> {
        let invalid = |_| E::invalid_value(Unexpected::Signed(number), &self);
        u16::try_from(number)
            .map(EnginePort::Number)
            .map_err(invalid)
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<EnginePort, E> {
        Ok(EnginePort::Name(name.to_owned()))
    }
}

/// A label of RFC 1123, which names of Services and of their ports are.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

const fn api_port() -> EnginePort {
    EnginePort::Number(super::api_port())
}

fn named_metrics_port() -> Option<EnginePort> {
    metrics_port().map(EnginePort::Number)
}
