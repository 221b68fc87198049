//! Settings of the sources that a pool discovers its engines from: one source, or a list of several.

mod check;
mod kubernetes;

pub(super) use check::check;
pub(crate) use check::check_engines;
pub use kubernetes::{EnginePort, KubernetesObjects, KubernetesSource};
use serde::de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The sources of a pool, by precedence: if two list the same address, the first one wins.
#[derive(Clone, Debug)]
pub struct Sources(pub Vec<Discovery>);

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourcesVisitor)
    }
}

struct SourcesVisitor;

impl<'de> Visitor<'de> for SourcesVisitor {
    type Value = Sources;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one source such as {static: [...]}, or a list of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sources, A::Error> {
        let one = Discovery::deserialize(MapAccessDeserializer::new(&mut map))?;
        if map.next_key::<de::IgnoredAny>()?.is_some() {
            let message = "more than one source: write a list, such as [{static: ...}, {dns: ...}]";
            return Err(de::Error::custom(message));
        }
        Ok(Sources(vec![one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sources, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = seq.next_element()? {
            all.push(one);
        }
        Ok(Sources(all))
    }
}

/// One source of engines.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discovery {
    Static(Vec<StaticEngine>),
    File(FileSource),
    Dns(DnsSource),
    Kubernetes(KubernetesSource),
    Docker(DockerSource),
    Mira(MiraSource),
}

impl Discovery {
    /// The constant for logs and metrics, as in the configuration.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Static(_) => "static",
            Self::File(_) => "file",
            Self::Dns(_) => "dns",
            Self::Kubernetes(_) => "kubernetes",
            Self::Docker(_) => "docker",
            Self::Mira(_) => "mira",
        }
    }
}

/// An engine in a list, either in the configuration or in a separate file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticEngine {
    pub name: String,
    pub ip: IpAddr,
    pub port: u16,
    /// The port with Prometheus metrics, if there is one.
    #[serde(default)]
    pub metrics_port: Option<u16>,
    /// Distinguishes the engine from its successor of the same name at the same address, such as the time of its start.
    #[serde(default)]
    pub incarnation: Option<String>,
    /// The engine is about to stop: it gets no new placements, and its sockets are closed.
    #[serde(default)]
    pub draining: bool,
}

/// A file with a list of engines that is polled for changes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// YAML or JSON: `engines: [{name, ip, port, metrics_port, incarnation, draining}]`.
    pub path: PathBuf,
    /// Polling interval.
    #[serde(default = "one_second", with = "humantime_serde")]
    pub poll: Duration,
}

/// A DNS name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsSource {
    /// Every A and AAAA record is an engine at `port`. Either this or `srv`.
    #[serde(default)]
    pub host: Option<String>,
    /// Every SRV record is an engine, with a port of its own.
    #[serde(default)]
    pub srv: Option<String>,
    /// Only with `host`.
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub metrics_port: Option<u16>,
    #[serde(default)]
    pub addresses: Addresses,
    /// The DNS server; the system's servers (`/etc/resolv.conf`) when absent.
    #[serde(default)]
    pub server: Option<SocketAddr>,
    /// The TTL of the records sets the time of the next query; this is its lower bound.
    #[serde(default = "one_second", with = "humantime_serde")]
    pub min_ttl: Duration,
    /// The upper bound of the same.
    #[serde(default = "half_a_minute", with = "humantime_serde")]
    pub max_ttl: Duration,
    /// Timeout of one query.
    #[serde(default = "five_seconds", with = "humantime_serde")]
    pub timeout: Duration,
}

/// Which address families to use: an engine with an address of each would count twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addresses {
    #[default]
    Both,
    Ipv4,
    Ipv6,
}

/// Containers of a Docker daemon, or tasks of a Swarm.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerSource {
    #[serde(default)]
    pub mode: DockerMode,
    /// `unix:///path` or `http://host:port`.
    #[serde(default = "docker_host")]
    pub host: String,
    /// The label that marks engines: `key` or `key=value`.
    #[serde(default = "label")]
    pub label: String,
    /// The network whose addresses to use; when absent, the first by name with an address.
    #[serde(default)]
    pub network: Option<String>,
    #[serde(default = "api_port")]
    pub port: u16,
    #[serde(default = "metrics_port")]
    pub metrics_port: Option<u16>,
    /// Polling interval.
    #[serde(default = "five_seconds", with = "humantime_serde")]
    pub poll: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DockerMode {
    /// The containers of one host.
    #[default]
    Local,
    /// The tasks of a Swarm; `host` must be a manager node.
    Swarm,
}

/// An existing Mira service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiraSource {
    /// Such as `http://mira:9100`.
    pub url: String,
    /// The network whose addresses to use; when absent, the first with an address.
    #[serde(default)]
    pub network: Option<String>,
    /// Polling interval.
    #[serde(default = "five_seconds", with = "humantime_serde")]
    pub poll: Duration,
}

const fn one_second() -> Duration {
    Duration::from_secs(1)
}
const fn five_seconds() -> Duration {
    Duration::from_secs(5)
}
const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}
/// The default of the QIX engine.
const fn api_port() -> u16 {
    9076
}
/// The default of the QIX engine.
#[allow(clippy::unnecessary_wraps, reason = "a field's default has its type")]
const fn metrics_port() -> Option<u16> {
    Some(9090)
}
/// The label that Mira uses as well.
fn label() -> String {
    "qix-engine".to_owned()
}
fn docker_host() -> String {
    "unix:///var/run/docker.sock".to_owned()
}

#[cfg(test)]
mod tests;
