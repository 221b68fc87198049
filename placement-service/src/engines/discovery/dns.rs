//! Engines from DNS: all A and AAAA records of a host, or all SRV records of a service. They are resolved again when
//! the TTL expires, within configured bounds. A lookup that fails keeps its last addresses, and the others count. A name
//! without records is a fault, because a failing DNS server often returns none, and an engine that is really gone fails
//! its probes.

use super::labels::SkippedEngines;
use super::poller::Poller;
use super::{DesiredState, DiscoveredEngine, Discovery, DiscoveryFault, address_name};
use crate::config::{Addresses, DnsSource};
use async_trait::async_trait;
use berth_scheduler::engine::Endpoint;
use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Maximum number of SRV targets that are resolved. No DNS response has more.
const MAX_TARGETS: usize = 1000;

/// A host or a service that is resolved periodically.
pub struct Dns {
    config: DnsSource,
    /// Created on first use, and again after a fault, because the name servers of the system may have changed.
    resolver: Option<TokioResolver>,
    poller: Poller,
    last: LastAddresses,
    failing: SkippedEngines,
}

/// The addresses of each host by record type, as of its last lookup that succeeded.
type LastAddresses = BTreeMap<(String, RecordType), Vec<IpAddr>>;

/// The lookups of the addresses of hosts, until all are done.
struct AddressLookups<'a> {
    resolver: &'a TokioResolver,
    families: Addresses,
    last: LastAddresses,
    /// The addresses of this time, which are the last ones next time.
    current: LastAddresses,
    /// The shortest TTL of the records, in seconds.
    ttl: u32,
    /// The lookups that failed.
    faults: Vec<String>,
}

impl Dns {
    /// The discovery for the configured name.
    #[must_use]
    pub fn new(config: &DnsSource) -> Self {
        Self {
            config: config.clone(),
            resolver: None,
            poller: Poller::default(),
            last: LastAddresses::new(),
            failing: SkippedEngines::default(),
        }
    }

    fn resolver(&mut self) -> Result<&TokioResolver, NetError> {
        if self.resolver.is_none() {
            let mut builder = match self.config.server {
                None => TokioResolver::builder_tokio()?,
                Some(server) => {
                    let connection = |protocol| {
                        let mut connection = ConnectionConfig::new(protocol);
                        connection.port = server.port();
                        connection
                    };
                    let connections = vec![
                        connection(ProtocolConfig::Udp),
                        connection(ProtocolConfig::Tcp),
                    ];
                    let server = NameServerConfig::new(server.ip(), true, connections);
                    TokioResolver::builder_with_config(
                        ResolverConfig::from_name_servers(vec![server]),
                        TokioRuntimeProvider::default(),
                    )
                }
            };
            let options = builder.options_mut();
            // No cache: `poller` decides when to resolve again.
            options.cache_size = 0;
            options.timeout = self.config.timeout;
            options.attempts = 2;
            options.use_hosts_file = ResolveHosts::Never;
            return Ok(self.resolver.insert(builder.build()?));
        }
        self.resolver
            .as_ref()
            .ok_or(NetError::Message("no resolver"))
    }

    /// Resolves the engines. Also returns the shortest TTL in seconds; 0 when a lookup has failed.
    async fn resolve_engines(&mut self) -> Result<(Vec<DiscoveredEngine>, u32), DiscoveryFault> {
        let config = self.config.clone();
        let last = self.last.clone();
        let resolver = self
            .resolver()
            .map_err(|e| DiscoveryFault::new(format!("no DNS resolver: {e}")))?;
        let mut lookups = AddressLookups {
            resolver,
            families: config.addresses,
            last,
            current: LastAddresses::new(),
            ttl: u32::MAX,
            faults: Vec::new(),
        };
        let mut addresses = BTreeSet::new();
        if let (Some(host), Some(port)) = (&config.host, config.port) {
            let ips = lookups.addresses(host).await;
            addresses.extend(ips.into_iter().map(|ip| SocketAddr::new(ip, port)));
        }
        if let Some(service) = &config.srv {
            let mut targets = BTreeSet::new();
            for record in lookup_records(resolver, service, RecordType::SRV).await? {
                if let RData::SRV(srv) = &record.data {
                    lookups.ttl = lookups.ttl.min(record.ttl);
                    // The root as the target means that the service is not available (RFC 2782).
                    if !srv.target.is_root() && srv.port > 0 {
                        targets.insert((srv.target.to_string(), srv.port));
                    }
                }
            }
            for (target, port) in targets.iter().take(MAX_TARGETS) {
                let ips = lookups.addresses(target).await;
                addresses.extend(ips.into_iter().map(|ip| SocketAddr::new(ip, *port)));
            }
        }
        let AddressLookups {
            current,
            ttl,
            faults,
            ..
        } = lookups;
        if addresses.is_empty() {
            let name = config.host.or(config.srv).unwrap_or_default();
            let fault = faults.into_iter().next();
            let fault = fault.unwrap_or_else(|| format!("{name} has no records"));
            return Err(DiscoveryFault::new(fault));
        }
        self.last = current;
        let ttl = if faults.is_empty() { ttl } else { 0 };
        if !faults.is_empty() {
            // The name servers of the system may have changed.
            self.resolver = None;
        }
        self.failing.update(faults);
        let engines = addresses.into_iter().map(|api| DiscoveredEngine {
            name: address_name(api),
            endpoint: Endpoint {
                api,
                metrics: config
                    .metrics_port
                    .map(|port| SocketAddr::new(api.ip(), port)),
            },
            incarnation: None,
            desired_state: DesiredState::Active,
        });
        Ok((engines.collect(), ttl))
    }
}

#[async_trait]
impl Discovery for Dns {
    async fn next(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
        loop {
            self.poller.wait_until_due().await;
            let answer = self.resolve_engines().await;
            let mut poll_after = self.config.min_ttl;
            let engines = match answer {
                Ok((engines, ttl)) => {
                    let ttl = Duration::from_secs(u64::from(ttl));
                    poll_after = ttl.clamp(self.config.min_ttl, self.config.max_ttl);
                    Ok(engines)
                }
                Err(fault) => {
                    self.resolver = None;
                    Err(fault)
                }
            };
            if let Some(event) = self.poller.report_change(engines, poll_after) {
                return event;
            }
        }
    }
}

impl AddressLookups<'_> {
    /// The addresses of a host, of the configured families.
    async fn addresses(&mut self, host: &str) -> Vec<IpAddr> {
        let families: &[RecordType] = match self.families {
            Addresses::Both => &[RecordType::A, RecordType::AAAA],
            Addresses::Ipv4 => &[RecordType::A],
            Addresses::Ipv6 => &[RecordType::AAAA],
        };
        let lookups = families
            .iter()
            .map(|family| lookup_records(self.resolver, host, *family));
        let results = join_all(lookups).await;
        let mut addresses = Vec::new();
        for (family, result) in families.iter().zip(results) {
            let key = (host.to_owned(), *family);
            let ips = match result {
                Ok(records) => {
                    // The TTL of an alias (CNAME) counts, too.
                    let ttls = records.iter().map(|record| record.ttl);
                    self.ttl = ttls.fold(self.ttl, u32::min);
                    records.iter().filter_map(address).collect()
                }
                Err(fault) => {
                    self.faults.push(fault.to_string());
                    self.last.get(&key).cloned().unwrap_or_default()
                }
            };
            addresses.extend(&ips);
            self.current.insert(key, ips);
        }
        addresses
    }
}

/// The address in a record, if it has one.
fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// The records of one type. Empty when the name does not exist or has no record of that type.
async fn lookup_records(
    resolver: &TokioResolver,
    name: &str,
    record_type: RecordType,
) -> Result<Vec<Record>, DiscoveryFault> {
    match resolver.lookup(name, record_type).await {
        Ok(lookup) => Ok(lookup.answers().to_vec()),
        Err(e) if e.is_no_records_found() => Ok(Vec::new()),
        Err(e) => Err(DiscoveryFault::new(format!(
            "{record_type} records of {name}: {e}"
        ))),
    }
}
