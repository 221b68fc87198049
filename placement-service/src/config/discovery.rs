//! Where the engines of a pool come from, as an operator says it: one source, or a list of several.

mod check;

pub(super) use check::check;
pub(crate) use check::check_engines;
use serde::de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The sources of a pool, in the order of their rank: of two that know the same address, the first is right.
#[derive(Clone, Debug)]
pub struct Sources(pub Vec<Discovery>);

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
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

/// One engine of a list: in the configuration, or in a file of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticEngine {
    pub name: String,
    pub ip: IpAddr,
    pub port: u16,
    /// Prometheus metrics; none when absent.
    #[serde(default)]
    pub metrics_port: Option<u16>,
    /// It goes: nothing new, and its sockets are closed.
    #[serde(default)]
    pub draining: bool,
}

/// A file of engines that is watched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSource {
    /// YAML or JSON: `engines: [{name, ip, port, metrics_port, draining}]`.
    pub path: PathBuf,
    /// How often it is looked at.
    #[serde(default = "one_second", with = "humantime_serde")]
    pub poll: Duration,
}

/// A name in the DNS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsSource {
    /// Every A and AAAA record is an engine at `port`. Either this or `srv`.
    #[serde(default)]
    pub host: Option<String>,
    /// Every SRV record is an engine, with a port of its own.
    #[serde(default)]
    pub srv: Option<String>,
    /// Goes with `host`.
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub metrics_port: Option<u16>,
    #[serde(default)]
    pub addresses: Addresses,
    /// The DNS server; those of the system (`/etc/resolv.conf`) when absent.
    #[serde(default)]
    pub server: Option<SocketAddr>,
    /// The TTL of the records says when they are asked for again; not sooner than this.
    #[serde(default = "one_second", with = "humantime_serde")]
    pub min_ttl: Duration,
    /// And not later than this.
    #[serde(default = "half_a_minute", with = "humantime_serde")]
    pub max_ttl: Duration,
    /// For one answer.
    #[serde(default = "five_seconds", with = "humantime_serde")]
    pub timeout: Duration,
}

/// Which addresses count: an engine with one of each family would count twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Addresses {
    #[default]
    Both,
    Ipv4,
    Ipv6,
}

/// Pods of a Kubernetes cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesSource {
    /// A label selector, such as `app=engine`; by default every pod with the label `qix-engine`.
    #[serde(default = "label")]
    pub selector: String,
    /// The service's own when absent.
    #[serde(default)]
    pub namespace: Option<String>,
    #[serde(default)]
    pub all_namespaces: bool,
    #[serde(default = "api_port")]
    pub port: u16,
    #[serde(default = "metrics_port")]
    pub metrics_port: Option<u16>,
    /// Outside of a cluster; `KUBECONFIG`, `~/.kube/config` or the pod's own account when absent.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// One of the kubeconfig's contexts; its current one when absent.
    #[serde(default)]
    pub context: Option<String>,
}

/// Containers of a Docker engine, or tasks of a swarm.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerSource {
    #[serde(default)]
    pub mode: DockerMode,
    /// `unix:///path` or `http://host:port`.
    #[serde(default = "docker_host")]
    pub host: String,
    /// What marks an engine: `key` or `key=value`.
    #[serde(default = "label")]
    pub label: String,
    /// Which of its networks to use; the first by name that has an address when absent.
    #[serde(default)]
    pub network: Option<String>,
    #[serde(default = "api_port")]
    pub port: u16,
    #[serde(default = "metrics_port")]
    pub metrics_port: Option<u16>,
    /// How often it is asked.
    #[serde(default = "five_seconds", with = "humantime_serde")]
    pub poll: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DockerMode {
    /// The containers of one machine.
    #[default]
    Local,
    /// The tasks of a swarm; `host` must be a manager.
    Swarm,
}

/// A Mira that is there already.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiraSource {
    /// Such as `http://mira:9100`.
    pub url: String,
    /// Which of an engine's networks to use; the first that has an address when absent.
    #[serde(default)]
    pub network: Option<String>,
    /// How often it is asked.
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
/// A QIX engine's.
const fn api_port() -> u16 {
    9076
}
/// A QIX engine's.
#[allow(clippy::unnecessary_wraps, reason = "a field's default has its type")]
const fn metrics_port() -> Option<u16> {
    Some(9090)
}
/// The label by which Mira finds engines, too.
fn label() -> String {
    "qix-engine".to_owned()
}
fn docker_host() -> String {
    "unix:///var/run/docker.sock".to_owned()
}
