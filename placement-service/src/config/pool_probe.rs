//! Settings of the numbers that a probe of an engine returns: for engines whose driver does not know them, which
//! Prometheus family holds which value; for QIX engines, which sessions their number includes.

use super::Driver;
use super::fault_collector::FaultCollector;
use serde::Deserialize;

/// How the engines of one pool are probed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolProbe {
    /// For `websocket` pools.
    #[serde(default)]
    pub metrics: Option<MetricsMapping>,
    /// For `qix` pools: whether `session.active` includes sessions without a socket.
    #[serde(default)]
    pub counts_lingering: Option<bool>,
}

/// Which Prometheus family holds which value; several samples of a family are added up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsMapping {
    /// The path on the metrics port or, without one, on the engine's port.
    #[serde(default = "path")]
    pub path: String,
    /// A gauge: open sessions or connections.
    #[serde(default)]
    pub sessions: Option<String>,
    #[serde(default)]
    pub memory: Option<MemoryFamilies>,
    /// A gauge: the share of the CPU in use, 0 to 1.
    #[serde(default)]
    pub cpu: Option<String>,
}

/// Two gauges that give the share of free memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryFamilies {
    /// Memory that the engine uses.
    pub used: String,
    /// Memory that is still available to it.
    pub free: String,
    #[serde(default)]
    pub unit: Unit,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    #[default]
    Bytes,
    Megabytes,
}

fn path() -> String {
    "/metrics".to_owned()
}

pub(super) fn check(path: &str, probe: &PoolProbe, driver: Driver, faults: &mut FaultCollector) {
    if driver == Driver::Websocket && probe.counts_lingering.is_some() {
        faults.add(
            format!("{path}.counts_lingering"),
            "is for qix pools only: the sessions of other engines end with their socket",
        );
    }
    let path = format!("{path}.metrics");
    let Some(metrics) = &probe.metrics else {
        if driver == Driver::Websocket {
            faults.add(path, "is missing");
        }
        return;
    };
    if driver != Driver::Websocket {
        faults.add(
            &path,
            "is for websocket pools only: the metrics of QIX engines are known",
        );
    }
    let visible = metrics.path.bytes().all(|b| b.is_ascii_graphic());
    if !metrics.path.starts_with('/') || !visible || metrics.path.contains('#') {
        faults.add(
            format!("{path}.path"),
            "must start with /, in visible ASCII",
        );
    }
    let memory = metrics.memory.as_ref();
    let families = [
        ("sessions", metrics.sessions.as_deref()),
        ("cpu", metrics.cpu.as_deref()),
        ("memory.used", memory.map(|m| m.used.as_str())),
        ("memory.free", memory.map(|m| m.free.as_str())),
    ];
    if families.iter().all(|(_, family)| family.is_none()) {
        faults.add(&path, "must name sessions, memory or cpu");
    }
    for (field, family) in families {
        if family.is_some_and(|family| !is_family_name(family)) {
            let message = "must be the name of a Prometheus family, without labels";
            faults.add(format!("{path}.{field}"), message);
        }
    }
}

/// Whether a name matches `[a-zA-Z_:][a-zA-Z0-9_:]*`, as the Prometheus data model requires.
fn is_family_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':');
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use crate::config::load::from_text;

    fn faults(text: &str) -> String {
        from_text(text).unwrap_err().to_string()
    }

    #[test]
    fn faults_of_a_metrics_mapping_have_paths() {
        let with = |driver: &str, metrics: &str| {
            format!(
                "pools: [ {{ name: p, {driver}, cluster: c, probe: {{ metrics: {metrics} }}, discovery: {{ static: [] }} }} ]"
            )
        };
        let loaded = from_text(&with("driver: websocket", "{ cpu: app_cpu }")).unwrap();
        let probe = loaded.config.pools[0].probe.as_ref().unwrap();
        assert_eq!(probe.metrics.as_ref().unwrap().path, "/metrics");
        for (driver, metrics, fault) in [
            (
                "driver: qix",
                "{ cpu: c }",
                "probe.metrics: is for websocket pools",
            ),
            (
                "driver: websocket",
                "{}",
                "probe.metrics: must name sessions",
            ),
            (
                "driver: websocket",
                "{ cpu: \"a{b}\" }",
                "probe.metrics.cpu: must be the name",
            ),
            (
                "driver: websocket",
                "{ cpu: c, path: x }",
                "probe.metrics.path: must start",
            ),
            (
                "driver: websocket",
                "{ memory: { used: a } }",
                "probe.metrics.memory.free: is missing",
            ),
        ] {
            let message = faults(&with(driver, metrics));
            assert!(message.contains(fault), "{metrics}: {message}");
        }
    }
}
