//! The upstreams of the edge: engines, applications, and the service twice, for the filter's calls and for clients.

use super::fault;
use crate::config::fault::Fault;
use crate::config::{Config, Discovery, ENGINE_PLACEHOLDER, HostPort, Pool};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The cluster of the filter's calls.
pub(super) const CALLS_CLUSTER: &str = "placement";
/// The cluster of the service for requests of clients.
pub(super) const PAGES_CLUSTER: &str = "pages";

/// An IP address or a host name, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl From<&HostPort> for Address {
    fn from(address: &HostPort) -> Self {
        Self {
            host: address.host.clone(),
            port: address.port,
        }
    }
}

/// A cluster with known addresses.
#[derive(Clone, Debug, Serialize)]
pub struct Cluster {
    pub name: String,
    /// Whether a host name among the addresses must be resolved.
    pub dns: bool,
    pub addresses: Vec<Address>,
}

/// A pool whose engines have clusters that these files do not contain.
#[derive(Clone, Debug, Serialize)]
pub struct ExternalClusters {
    pub pool: String,
    /// With `{engine}` in it.
    pub cluster: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Clusters {
    /// Clusters of engines that the filter selects by address.
    pub engines: Vec<String>,
    /// Clusters of one engine each, of pools with `{engine}` in their cluster and a static list of engines.
    pub single_engines: Vec<Cluster>,
    pub external_engines: Vec<ExternalClusters>,
    pub applications: Vec<Cluster>,
    /// The cluster of the filter's calls.
    pub calls: Cluster,
    /// The service for requests of clients.
    pub pages: Cluster,
}

impl Clusters {
    pub(super) fn new(config: &Config, faults: &mut Vec<Fault>) -> Self {
        let service = service_addresses(config, faults);
        let applications = config.edge.applications.iter();
        let applications: Vec<Cluster> = applications
            .map(|one| cluster(&one.name, &one.addresses))
            .collect();
        let mut clusters = Self {
            engines: Vec::new(),
            single_engines: Vec::new(),
            external_engines: Vec::new(),
            applications,
            calls: cluster(CALLS_CLUSTER, &service),
            pages: cluster(PAGES_CLUSTER, &service),
        };
        let mut engines = BTreeSet::new();
        for pool in &config.pools {
            if pool.cluster.contains(ENGINE_PLACEHOLDER) {
                clusters.add_single_engines(pool);
            } else {
                engines.insert(pool.cluster.clone());
            }
        }
        clusters.engines = engines.into_iter().collect();
        clusters.check_names(config, faults);
        clusters
    }

    fn add_single_engines(&mut self, pool: &Pool) {
        for source in &pool.discovery.0 {
            let Discovery::Static(engines) = source else {
                self.external_engines.push(ExternalClusters {
                    pool: pool.name.clone(),
                    cluster: pool.cluster.clone(),
                });
                return;
            };
            self.single_engines
                .extend(engines.iter().map(|engine| Cluster {
                    name: pool.cluster.replace(ENGINE_PLACEHOLDER, &engine.name),
                    dns: false,
                    addresses: vec![Address::from(SocketAddr::new(engine.ip, engine.port))],
                }));
        }
    }

    /// Two clusters must not have one name.
    fn check_names(&self, config: &Config, faults: &mut Vec<Fault>) {
        let mut users: BTreeMap<&str, String> = BTreeMap::new();
        let own = [CALLS_CLUSTER, PAGES_CLUSTER].map(|name| (name, "the service".to_owned()));
        let pools = config.pools.iter().enumerate();
        let pools =
            pools.map(|(index, pool)| (pool.cluster.as_str(), format!("pools[{index}].cluster")));
        let single = self.single_engines.iter();
        let single = single.map(|one| (one.name.as_str(), "an engine".to_owned()));
        let applications = config.edge.applications.iter().enumerate();
        let applications = applications.map(|(index, one)| {
            (
                one.name.as_str(),
                format!("edge.applications[{index}].name"),
            )
        });
        for (name, user) in own
            .into_iter()
            .chain(pools)
            .chain(single)
            .chain(applications)
        {
            let Some(other) = users.get(name) else {
                users.insert(name, user);
                continue;
            };
            // Pools may share a cluster: the filter selects the engine.
            if !(other.starts_with("pools[") && user.starts_with("pools[")) {
                let message = format!("{name:?} is the name of a cluster of {other}, too");
                fault(faults, user, message);
            }
        }
    }
}

fn cluster(name: &str, addresses: &[HostPort]) -> Cluster {
    Cluster {
        name: name.to_owned(),
        dns: !addresses.iter().all(HostPort::is_ip),
        addresses: addresses.iter().map(Address::from).collect(),
    }
}

/// The replicas of the service: those of the edge's section, else the service's own address.
fn service_addresses(config: &Config, faults: &mut Vec<Fault>) -> Vec<HostPort> {
    if !config.edge.service.is_empty() {
        return config.edge.service.clone();
    }
    let listen = config.listen;
    if listen.port() == 0 {
        let message = "is needed: `listen` has no fixed port";
        fault(faults, "edge.service", message);
    }
    let host = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    vec![HostPort {
        host: host.to_string(),
        port: listen.port(),
    }]
}
