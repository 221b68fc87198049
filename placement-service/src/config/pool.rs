//! Settings of pools and routes, and their checks. Knows nothing of engines at run time.

use super::fault_collector::{FaultCollector, SECOND};
use super::{Capacity, Config, PoolProbe, Queue, Sources, capacity, discovery, pool_probe};
pub use berth_scheduler::strategy::{Strategy, Weights};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Stands for the engine's name in [`Pool::cluster`].
pub const ENGINE_PLACEHOLDER: &str = "{engine}";
/// Stands for the rest of the path in [`Route::path`].
pub const DOCUMENT_PLACEHOLDER: &str = "{document}";

/// A pool: engines that serve the same content.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub name: String,
    pub driver: Driver,
    /// The Envoy cluster. With `{engine}` in it, each engine has a cluster of its own, and placements have no
    /// destination.
    pub cluster: String,
    #[serde(default)]
    pub strategy: Strategy,
    #[serde(default)]
    pub weights: Weights,
    /// Which metrics of its engines mean what; for drivers that do not know the metrics.
    #[serde(default)]
    pub probe: Option<PoolProbe>,
    #[serde(default)]
    pub capacity: Capacity,
    #[serde(default)]
    pub queue: Queue,
    /// Overrides `placement.max_streams_per_session`.
    #[serde(default)]
    pub max_streams_per_session: Option<u32>,
    /// Overrides `placement.max_streams_per_bearer`.
    #[serde(default)]
    pub max_streams_per_bearer: Option<u32>,
    /// The time over which the weight of a started engine grows to its full value.
    #[serde(default, with = "humantime_serde")]
    pub slow_start: Duration,
    #[serde(default)]
    pub sharing: Sharing,
    /// How long an engine session lives after its last socket closes.
    #[serde(default = "engine_session_ttl", with = "humantime_serde")]
    pub engine_session_ttl: Duration,
    /// The time over which the sockets of an engine are closed when its discovery source drains it.
    #[serde(default = "drain_duration", with = "humantime_serde")]
    pub drain_duration: Duration,
    pub discovery: Sources,
}

/// The value of the gateway that Berth replaces; clients rely on it.
const fn engine_session_ttl() -> Duration {
    Duration::from_secs(60)
}

/// Shorter than the 30 s that Kubernetes gives a pod by default (`terminationGracePeriodSeconds`).
const fn drain_duration() -> Duration {
    Duration::from_secs(20)
}

/// Which sockets share an engine session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Each socket has its own; a tab that sends a name returns to its previous one.
    #[default]
    PerConnection,
    /// All sockets of a login session that open the same document share one.
    PerDocument,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    Qix,
    Websocket,
}

/// Which pool serves a path, and what is opened there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A literal path, or one that ends in `{document}`, which matches the rest of the path.
    pub path: String,
    pub pool: String,
    /// What the driver opens before the client connects; `websocket` pools open nothing.
    #[serde(default)]
    pub open: OpenTemplate,
    /// Whether the edge accepts the tokens of programs.
    #[serde(default)]
    pub bearer: Permission,
    /// The age at which the edge closes a WebSocket; zero: never.
    #[serde(default, with = "humantime_serde")]
    pub max_age: Duration,
    /// The share by which WebSockets close earlier at random, so that they do not close together.
    #[serde(default = "max_age_jitter")]
    pub max_age_jitter: f64,
}

/// Which paths a route matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPattern<'a> {
    Exact(&'a str),
    Prefix(&'a str),
}

impl Route {
    /// Which paths it matches.
    #[must_use]
    pub fn pattern(&self) -> PathPattern<'_> {
        match self.path.strip_suffix(DOCUMENT_PLACEHOLDER) {
            Some(prefix) => PathPattern::Prefix(prefix),
            None => PathPattern::Exact(&self.path),
        }
    }
}

/// The filter's default.
const fn max_age_jitter() -> f64 {
    0.1
}

/// Whether a route of the edge accepts a kind of client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    Allow,
    #[default]
    Deny,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenTemplate {
    #[default]
    Nothing,
    /// A document by name; `{document}` is replaced by the rest of the request's path.
    Document(String),
    SessionApp,
}

pub(super) fn check(path: &str, pool: &Pool, faults: &mut FaultCollector) {
    faults.check_name(&format!("{path}.name"), &pool.name);
    let visible = |b: u8| b.is_ascii_graphic();
    if pool.cluster.is_empty() || !pool.cluster.bytes().all(visible) {
        faults.add(
            format!("{path}.cluster"),
            "must be visible ASCII without spaces",
        );
    }
    capacity::check(path, pool, faults);
    faults.check_range(
        &format!("{path}.slow_start"),
        pool.slow_start,
        Duration::ZERO,
        3600 * SECOND,
    );
    // The upper bound is the QIX engine's own limit (MaxSessionTTL).
    faults.check_range(
        &format!("{path}.engine_session_ttl"),
        pool.engine_session_ttl,
        SECOND,
        1800 * SECOND,
    );
    faults.check_range(
        &format!("{path}.drain_duration"),
        pool.drain_duration,
        Duration::ZERO,
        24 * 3600 * SECOND,
    );
    let needs_threshold = matches!(pool.strategy, Strategy::Weighted | Strategy::Packed);
    if needs_threshold && pool.capacity.per_engine.is_none() {
        let strategy = pool.strategy.as_str();
        let message = format!("is missing: strategy {strategy} needs it");
        faults.add(format!("{path}.capacity.per_engine"), message);
    }
    check_weights(&format!("{path}.weights"), &pool.weights, faults);
    discovery::check(&format!("{path}.discovery"), &pool.discovery, faults);
    if let Some(probe) = &pool.probe {
        pool_probe::check(&format!("{path}.probe"), probe, pool.driver, faults);
    }
}

fn check_weights(path: &str, weights: &Weights, faults: &mut FaultCollector) {
    let Weights {
        sessions,
        memory,
        cpu,
        document,
    } = *weights;
    let named = [
        ("sessions", sessions),
        ("memory", memory),
        ("cpu", cpu),
        ("document", document),
    ];
    for (name, weight) in named {
        if !(0.0..=1.0).contains(&weight) {
            faults.add(format!("{path}.{name}"), "must be 0 to 1");
        }
    }
    if sessions + memory + cpu <= 0.0 {
        faults.add(path, "one of sessions, memory and cpu must be more than 0");
    }
}

pub(super) fn check_route(path: &str, route: &Route, config: &Config, faults: &mut FaultCollector) {
    let (literal, rest_of_path) = match route.pattern() {
        PathPattern::Prefix(prefix) => (prefix, true),
        PathPattern::Exact(exact) => (exact, false),
    };
    if !literal.starts_with('/') || literal.contains(['{', '}', '?', '#']) {
        let message = "must start with / and may end in {document}, without a query";
        faults.add(format!("{path}.path"), message);
    } else if rest_of_path && !literal.ends_with('/') {
        faults.add(format!("{path}.path"), "{document} must follow a /");
    }
    let Some(pool) = config.pools.iter().find(|pool| pool.name == route.pool) else {
        faults.add(
            format!("{path}.pool"),
            format!("there is no pool {:?}", route.pool),
        );
        return;
    };
    faults.check_range(
        &format!("{path}.max_age"),
        route.max_age,
        Duration::ZERO,
        365 * 24 * 3600 * SECOND,
    );
    if !(0.0..=1.0).contains(&route.max_age_jitter) {
        faults.add(format!("{path}.max_age_jitter"), "must be 0 to 1");
    }
    let open = format!("{path}.open");
    if pool.driver == Driver::Websocket && route.open != OpenTemplate::Nothing {
        faults.add(&open, "a websocket pool opens nothing");
    }
    if let OpenTemplate::Document(name) = &route.open {
        if name.is_empty() {
            faults.add(&open, "the document's name must not be empty");
        }
        if name.contains("{document}") && !rest_of_path {
            faults.add(&open, "uses {document}, which the path does not have");
        }
    }
}
