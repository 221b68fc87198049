//! The names of an install into Kubernetes, where a control plane delivers routes, clusters and filter to gateways. Istio
//! has clusters of its own for services of the mesh: their names replace those of the model.

use super::{Address, EdgeModel, fault};
use crate::config::fault::{Fault, Faults};
use crate::config::{Config, LabelSelector, Permission};
use serde::Serialize;
use std::collections::BTreeMap;

/// Where the manifests mount the image of the filter, and its configuration.
const WASM: &str = "/var/lib/berth/plugin.wasm";
const FILTER_FOLDER: &str = "/etc/berth";
/// Proxies of Istio 1.30 and later.
const PROXY_VERSION: &str = r"^1\.[3-9][0-9]\..*";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlPlane {
    Istio,
    EnvoyGateway,
}

/// The names that the manifests contain.
#[derive(Clone, Debug, Serialize)]
pub struct Install {
    /// The namespace of the gateways.
    pub namespace: String,
    /// The host that clients use.
    pub host: String,
    /// The Secret with its certificate.
    pub tls_secret: String,
    /// The Secret with the variables that the filter reads.
    pub env_secret: String,
    pub filter_image: String,
    pub filter_folder: &'static str,
    /// The labels of the gateways' pods.
    pub selector: LabelSelector,
    pub service_account: String,
    /// The identity of the gateways, and that of gateways that Istio creates for the Gateway API.
    pub principal: String,
    pub gateway_api_principal: String,
    pub prometheus_namespace: String,
    pub proxy_version: &'static str,
    /// Memory limit of a gateway, above the heap at which Envoy stops accepting requests.
    pub memory_limit: String,
    /// `None`: the control plane does not have to know the service.
    pub service: Option<MeshService>,
}

/// The placement service as a service of the mesh.
#[derive(Clone, Debug, Serialize)]
pub struct MeshService {
    pub host: String,
    pub namespace: String,
    pub port: u16,
    /// The labels of its pods.
    pub labels: LabelSelector,
}

impl Install {
    /// Reads the names, and adapts the model to the control plane.
    ///
    /// # Errors
    /// Every setting that the control plane cannot express.
    pub fn new(
        plane: ControlPlane,
        config: &Config,
        model: &mut EdgeModel,
    ) -> Result<Self, Faults> {
        let edge = &config.edge;
        let (kubernetes, istio) = (&edge.kubernetes, &edge.istio);
        let mut faults = Vec::new();
        check_permissions(config, &mut faults);
        check_hosts(config, &mut faults);
        WASM.clone_into(&mut model.wasm);
        model.filter_file = format!("{FILTER_FOLDER}/filter.yaml");
        let service = match plane {
            ControlPlane::Istio => use_mesh(config, model, &mut faults),
            ControlPlane::EnvoyGateway => None,
        };
        // The virtual host of the gateway is that of the host's own routes, if there are any.
        let hosts = &mut model.routes.virtual_hosts;
        hosts.truncate(1);
        if !faults.is_empty() {
            faults.sort();
            return Err(Faults(faults));
        }
        let account = |name: &str| {
            let domain = &istio.trust_domain;
            format!("{domain}/ns/{}/sa/{name}", istio.namespace)
        };
        Ok(Self {
            namespace: match plane {
                ControlPlane::Istio => istio.namespace.clone(),
                ControlPlane::EnvoyGateway => edge.envoy_gateway.namespace.clone(),
            },
            host: kubernetes.host.clone(),
            tls_secret: kubernetes.tls_secret.clone(),
            env_secret: kubernetes.env_secret.clone(),
            filter_image: kubernetes.filter_image.clone(),
            filter_folder: FILTER_FOLDER,
            selector: istio.selector.clone(),
            service_account: istio.service_account.clone(),
            principal: account(&istio.service_account),
            gateway_api_principal: account("berth-istio"),
            prometheus_namespace: istio.prometheus_namespace.clone(),
            proxy_version: PROXY_VERSION,
            memory_limit: format!("{}Mi", u64::from(edge.max_heap_mb) * 5 / 4),
            service,
        })
    }
}

/// The gateway has one host, and the control plane knows no other one.
fn check_hosts(config: &Config, faults: &mut Vec<Fault>) {
    let host = &config.edge.kubernetes.host;
    for (index, route) in config.routes.iter().enumerate() {
        if route.host.as_ref().is_some_and(|other| other != host) {
            let message = format!("must be edge.kubernetes.host, {host}: the gateway has one host");
            fault(faults, format!("routes[{index}].host"), message);
        }
    }
}

/// Routes match only requests with a session: the filter names the session, and nothing else, to Envoy.
fn check_permissions(config: &Config, faults: &mut Vec<Fault>) {
    let message = "must be deny: the routes of a control plane match only requests with a session";
    for (index, route) in config.routes.iter().enumerate() {
        if route.bearer == Permission::Allow {
            fault(faults, format!("routes[{index}].bearer"), message);
        }
    }
    for (index, application) in config.edge.applications.iter().enumerate() {
        for (nth, route) in application.routes.iter().enumerate() {
            let path = format!("edge.applications[{index}].routes[{nth}]");
            for (field, permission) in [("bearer", route.bearer), ("anonymous", route.anonymous)] {
                if permission == Permission::Allow {
                    fault(faults, format!("{path}.{field}"), message);
                }
            }
        }
    }
}

/// Replaces the clusters of the service and of the applications by those of the mesh.
fn use_mesh(
    config: &Config,
    model: &mut EdgeModel,
    faults: &mut Vec<Fault>,
) -> Option<MeshService> {
    let mut names = BTreeMap::new();
    let clusters = &model.clusters;
    for (index, application) in clusters.applications.iter().enumerate() {
        match application.addresses.as_slice() {
            [one] if application.dns => {
                let name = format!("outbound|{}||{}", one.port, one.host);
                names.insert(application.name.clone(), name);
            }
            _ => {
                let path = format!("edge.applications[{index}].addresses");
                fault(faults, path, "Istio needs one host name, that of a service");
            }
        }
    }
    let service = mesh_service(&clusters.calls.addresses, config);
    let Some(service) = service else {
        let message = "Istio needs one host name such as berth.berth.svc.cluster.local:9455";
        fault(faults, "edge.service", message);
        return None;
    };
    let subset = |subset: &str| format!("outbound|{}|{subset}|{}", service.port, service.host);
    for (name, subset) in [
        (&clusters.calls.name, subset("placement")),
        (&clusters.pages.name, subset("pages")),
    ] {
        names.insert(name.clone(), subset);
    }
    model.rename_clusters(&names);
    Some(service)
}

/// `NAME.NAMESPACE.svc.DOMAIN`.
fn mesh_service(addresses: &[Address], config: &Config) -> Option<MeshService> {
    let [address] = addresses else {
        return None;
    };
    let mut labels = address.host.split('.');
    let (_name, namespace, svc) = (labels.next()?, labels.next()?, labels.next()?);
    (svc == "svc" && labels.next().is_some()).then(|| MeshService {
        host: address.host.clone(),
        namespace: namespace.to_owned(),
        port: address.port,
        labels: config.edge.istio.service_labels.clone(),
    })
}
