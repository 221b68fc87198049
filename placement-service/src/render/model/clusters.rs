//! The upstreams of the edge: engines, applications, and the service twice, for the filter's calls and for clients.

use super::fault;
use crate::config::fault::Fault;
use crate::config::{Config, Discovery, ENGINE_PLACEHOLDER, HostPort, Pool, UpstreamTls};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

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
    pub tls: Option<ClusterTls>,
}

/// A cluster whose engines the filter selects by address.
#[derive(Clone, Debug, Serialize)]
pub struct EngineCluster {
    pub name: String,
    pub tls: Option<ClusterTls>,
}

/// TLS of a cluster. The files are on the machine of the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterTls {
    pub ca: String,
    /// The DNS name in the certificates of the servers.
    pub name: String,
    /// `http/1.1` or `h2`.
    pub alpn: &'static str,
    /// The own certificate, and its key.
    pub identity: Option<(String, String)>,
}

impl ClusterTls {
    fn new(settings: &UpstreamTls, alpn: &'static str) -> Self {
        let text = |path: &Path| path.display().to_string();
        let identity = settings.identity();
        Self {
            ca: text(&settings.ca),
            name: settings.name.clone(),
            alpn,
            identity: identity.map(|(certificate, key)| (text(certificate), text(key))),
        }
    }

    fn of_engines(pool: &Pool) -> Option<Self> {
        let settings = pool.tls.as_ref();
        settings.map(|settings| Self::new(settings, "http/1.1"))
    }
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
    pub engines: Vec<EngineCluster>,
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
        let service_tls = config.edge.service_tls.as_ref();
        if config.tls.is_some() && service_tls.is_none() {
            fault(faults, "edge.service_tls", "is needed: `tls` is set");
        }
        let service_tls = service_tls.map(|settings| ClusterTls::new(settings, "h2"));
        let applications = config.edge.applications.iter();
        let applications: Vec<Cluster> = applications
            .map(|one| cluster(&one.name, &one.addresses))
            .collect();
        let mut clusters = Self {
            engines: Vec::new(),
            single_engines: Vec::new(),
            external_engines: Vec::new(),
            applications,
            calls: Cluster {
                tls: service_tls.clone(),
                ..cluster(CALLS_CLUSTER, &service)
            },
            pages: Cluster {
                tls: service_tls,
                ..cluster(PAGES_CLUSTER, &service)
            },
        };
        let mut engines: BTreeMap<&str, Option<ClusterTls>> = BTreeMap::new();
        for (index, pool) in config.pools.iter().enumerate() {
            if pool.cluster.contains(ENGINE_PLACEHOLDER) {
                clusters.add_single_engines(pool);
                continue;
            }
            let tls = ClusterTls::of_engines(pool);
            let first = engines.entry(&pool.cluster).or_insert_with(|| tls.clone());
            if *first != tls {
                let path = format!("pools[{index}].tls");
                let message = format!(
                    "must be that of the other pools of the cluster {:?}",
                    pool.cluster
                );
                fault(faults, path, message);
            }
        }
        let engines = engines.into_iter().map(|(name, tls)| EngineCluster {
            name: name.to_owned(),
            tls,
        });
        clusters.engines = engines.collect();
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
                    tls: ClusterTls::of_engines(pool),
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
        tls: None,
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
