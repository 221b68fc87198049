//! Names in the manifests for gateways in Kubernetes: objects that exist there, and those that the manifests create. Knows
//! no manifest.

use super::Edge;
use crate::config::fault_collector::FaultCollector;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// For every control plane.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeKubernetes {
    /// The host that clients use.
    pub host: String,
    /// The Secret with its certificate (`kubernetes.io/tls`), in the namespace of the gateways.
    pub tls_secret: String,
    /// The Secret with the variables that the filter reads, in the namespace of the gateways.
    pub env_secret: String,
    /// The image of the filter.
    pub filter_image: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeIstio {
    /// The namespace of the gateways.
    pub namespace: String,
    /// The labels of the gateways' pods.
    pub selector: LabelSelector,
    /// The service account of the gateways, which may call the service.
    pub service_account: String,
    /// The trust domain of the mesh.
    pub trust_domain: String,
    /// The labels of the service's pods.
    pub service_labels: LabelSelector,
    /// The namespace whose pods may read the service's metrics.
    pub prometheus_namespace: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeEnvoyGateway {
    /// The namespace of the gateways.
    pub namespace: String,
}

/// Labels that a pod must have, written `a=b,c=d`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct LabelSelector(BTreeMap<String, String>);

impl TryFrom<String> for LabelSelector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let label = |item: &str| {
            let (name, value) = item.split_once('=')?;
            let (prefix, short) = name
                .rsplit_once('/')
                .map_or((None, name), |(a, b)| (Some(a), b));
            let valid = prefix.is_none_or(is_host) && is_label(short) && is_label(value);
            valid.then(|| (name.to_owned(), value.to_owned()))
        };
        let labels: Option<BTreeMap<_, _>> = text.split(',').map(label).collect();
        let message = || format!("{text:?} are no labels such as app=berth,tier=edge");
        labels.map(Self).ok_or_else(message)
    }
}

pub(super) fn check(edge: &Edge, faults: &mut FaultCollector) {
    let (kubernetes, istio) = (&edge.kubernetes, &edge.istio);
    for (path, name) in [
        ("edge.istio.namespace", &istio.namespace),
        (
            "edge.istio.prometheus_namespace",
            &istio.prometheus_namespace,
        ),
        (
            "edge.envoy_gateway.namespace",
            &edge.envoy_gateway.namespace,
        ),
    ] {
        if !is_dns_label(name) {
            faults.add(path, "must be the name of a namespace: a-z, 0-9 and -");
        }
    }
    for (path, name) in [
        ("edge.kubernetes.host", &kubernetes.host),
        ("edge.kubernetes.tls_secret", &kubernetes.tls_secret),
        ("edge.kubernetes.env_secret", &kubernetes.env_secret),
        ("edge.istio.service_account", &istio.service_account),
        ("edge.istio.trust_domain", &istio.trust_domain),
    ] {
        if !is_host(name) {
            faults.add(path, "must be a DNS name: a-z, 0-9, - and .");
        }
    }
    if !is_image(&kubernetes.filter_image) {
        let message = "must be an image such as registry.example.com/berth-filter:1.0";
        faults.add("edge.kubernetes.filter_image", message);
    }
}

/// A label of a DNS name (RFC 1123).
fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A DNS name in lower case, as names of Kubernetes' objects are.
fn is_host(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// The name of a label without its prefix, or its value.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let end = |c: char| c.is_ascii_alphanumeric();
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && text.starts_with(end)
        && text.ends_with(end)
}

/// A reference of an image, with a tag or a digest; no scheme.
fn is_image(text: &str) -> bool {
    let inner = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b':' | b'@')
    };
    let start = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 512 && text.starts_with(start) && text.bytes().all(inner) && !text.contains("//")
}
