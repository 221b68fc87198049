//! Settings of pools, and their checks. Knows nothing of engines at run time.

use super::fault_collector::{FaultCollector, SECOND, format_duration};
use super::{
    Capacity, Config, Discovery, PoolProbe, Queue, Sources, UpstreamTls, capacity, discovery,
    pool_probe, tls,
};
pub use berth_scheduler::strategy::{Strategy, Weights};
use serde::Deserialize;
use std::time::Duration;

/// Stands for the engine's name in [`Pool::cluster`].
pub const ENGINE_PLACEHOLDER: &str = "{engine}";

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
    /// What the metrics of its engines mean.
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
    /// Whether a client that closes its socket with 1000 also ends its engine session.
    #[serde(default = "end_on_close")]
    pub end_on_close: bool,
    /// The time over which the sockets of an engine are closed when its discovery source drains it.
    #[serde(default = "drain_duration", with = "humantime_serde")]
    pub drain_duration: Duration,
    /// `None`: the engines speak plain HTTP and WebSocket.
    #[serde(default)]
    pub tls: Option<UpstreamTls>,
    pub discovery: Sources,
}

/// The value of the gateway that Berth replaces; clients rely on it.
const fn engine_session_ttl() -> Duration {
    Duration::from_secs(60)
}

/// 1000 says that the client has done what the connection was for (RFC 6455 section 7.4.1).
const fn end_on_close() -> bool {
    true
}

/// Shorter than the 30 s that Kubernetes gives a pod by default (`terminationGracePeriodSeconds`).
const fn drain_duration() -> Duration {
    Duration::from_secs(20)
}

impl Pool {
    /// Whether the number of sessions in a probe includes engine sessions without a socket.
    #[must_use]
    pub fn counts_lingering(&self) -> bool {
        let probe = self.probe.as_ref();
        probe
            .and_then(|probe| probe.counts_lingering)
            .unwrap_or(true)
    }
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

pub(super) fn check_pools(config: &Config, faults: &mut FaultCollector) {
    let pools = &config.pools;
    for (index, pool) in pools.iter().enumerate() {
        check_pool(&format!("pools[{index}]"), pool, faults);
    }
    faults.check_unique_names("pools", pools.iter().map(|pool| pool.name.as_str()));
}

fn check_pool(path: &str, pool: &Pool, faults: &mut FaultCollector) {
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
    if let Some(tls) = &pool.tls {
        tls::check_upstream(&format!("{path}.tls"), tls, faults);
    }
    discovery::check(&format!("{path}.discovery"), &pool.discovery, faults);
    if let Some(probe) = &pool.probe {
        pool_probe::check(&format!("{path}.probe"), probe, pool.driver, faults);
    }
}

/// Combinations that are valid but risky.
pub(super) fn add_warnings(path: &str, pool: &Pool, warnings: &mut Vec<String>) {
    let sources = &pool.discovery.0;
    for (index, source) in sources.iter().enumerate() {
        if matches!(source, Discovery::Static(engines) if engines.is_empty()) {
            let item = if sources.len() > 1 {
                format!("[{index}]")
            } else {
                String::new()
            };
            warnings.push(format!(
                "{path}.discovery{item}.static is empty: it lists no engine"
            ));
        }
    }
    let Capacity {
        per_engine,
        per_pool,
        ..
    } = pool.capacity;
    let is_limited = per_engine.or(per_pool).is_some();
    let (timeout, ttl) = (pool.queue.timeout, pool.engine_session_ttl);
    let queue_is_short = pool.queue.max_length > 0 && timeout < ttl;
    if pool.driver == Driver::Qix && is_limited && queue_is_short && !pool.end_on_close {
        let (timeout, ttl) = (format_duration(timeout), format_duration(ttl));
        warnings.push(format!(
            "{path}.queue.timeout is {timeout}, engine_session_ttl {ttl}, and end_on_close is false: the room of a closed socket is free only after a queued placement has given up"
        ));
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

#[cfg(test)]
mod tests {
    use crate::config::load::from_text;

    fn faults(text: &str) -> String {
        from_text(text).unwrap_err().to_string()
    }

    const POOL: &str = "
pools:
  - name: qix
    driver: qix
    cluster: engines
    discovery: { static: [ { name: engine-0, ip: 10.0.0.1, port: 9076 } ] }
";

    #[test]
    fn risky_pools_give_warnings() {
        let warnings = |settings: &str| {
            let text = format!(
                "pools: [ {{ name: p, driver: qix, cluster: c, {settings} }} ]\n\
                 routes: [ {{ path: /a, pool: p }} ]\nedge: {{ listen: 127.0.0.1:1 }}"
            );
            let mut warnings = from_text(&text).unwrap().warnings;
            warnings.retain(|warning| warning.starts_with("pools") && !warning.contains(".tls"));
            warnings
        };
        assert_eq!(
            warnings("discovery: { static: [] }"),
            ["pools[0].discovery.static is empty: it lists no engine"]
        );
        assert_eq!(
            warnings("discovery: [ { static: [] }, { dns: { host: a, port: 1 } } ]"),
            ["pools[0].discovery[0].static is empty: it lists no engine"]
        );
        let limited = "discovery: { dns: { host: a, port: 1 } }, capacity: { per_engine: 2 }, queue: { max_length: 9 }";
        assert_eq!(warnings(limited), [""; 0]);
        assert_eq!(
            warnings(&format!("{limited}, end_on_close: false")),
            [
                "pools[0].queue.timeout is 5s, engine_session_ttl 1m, and end_on_close is false: \
              the room of a closed socket is free only after a queued placement has given up"
            ]
        );
        let short_ttl = format!("{limited}, end_on_close: false, engine_session_ttl: 2s");
        assert_eq!(warnings(&short_ttl), [""; 0]);
    }

    #[test]
    fn pool_names_are_unique() {
        let two = format!("{POOL}{}", &POOL["\npools:\n".len()..]);
        assert_eq!(
            faults(&two),
            "pools[1].name: the name \"qix\" is already used"
        );
    }

    #[test]
    fn weights_are_shares_and_not_all_zero() {
        let pool = |name: &str, rest: &str| {
            format!(
                "- {{ name: {name}, driver: qix, cluster: e, discovery: {{ static: [] }}, {rest} }}\n"
            )
        };
        let text = format!(
            "pools:\n{}{}{}",
            pool("a", "weights: { cpu: 1.5, memory: -0.1, document: 2 }"),
            pool("b", "weights: { sessions: 0, memory: 0, cpu: 0 }"),
            pool("c", "strategy: packed"),
        );
        let message = from_text(&text).unwrap_err().to_string();
        for fault in [
            "pools[0].weights.cpu: must be 0 to 1",
            "pools[0].weights.document: must be 0 to 1",
            "pools[0].weights.memory: must be 0 to 1",
            "pools[1].weights: one of sessions, memory and cpu must be more than 0",
            "pools[2].capacity.per_engine: is missing: strategy packed needs it",
        ] {
            assert!(message.contains(fault), "{fault} is not in:\n{message}");
        }
    }
}
