//! Pools of engines, and which path goes to which.

use super::check::Faults;
use super::{Config, PoolProbe, Sources, discovery, probed};
use serde::Deserialize;

/// Engines that serve the same things.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub name: String,
    pub driver: Driver,
    /// The Envoy cluster. With `{engine}` in it: a cluster per engine, and no destination header.
    pub cluster: String,
    #[serde(default)]
    pub strategy: Strategy,
    /// Sessions per engine at the most.
    #[serde(default)]
    pub session_threshold: Option<u32>,
    /// What its engines can tell, apart from what the driver knows.
    #[serde(default)]
    pub probe: Option<PoolProbe>,
    pub discovery: Sources,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    Qix,
    Websocket,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    RoundRobin,
    #[default]
    LeastLoad,
    /// Probability proportional to `session_threshold - sessions`; needs the threshold.
    Weighted,
}

impl Strategy {
    /// The constant for logs and answers, as in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastLoad => "least-load",
            Self::Weighted => "weighted",
        }
    }
}

/// Which pool takes a path, and what is opened there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A literal path, or one that ends in `{document}` (the rest of the path).
    pub path: String,
    pub pool: String,
    /// What the driver opens first; `websocket` pools open nothing.
    #[serde(default)]
    pub open: Open,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Open {
    #[default]
    Nothing,
    /// A document by name; `{document}` stands for the route's part.
    Document(String),
    SessionApp,
}

pub(super) fn check(path: &str, pool: &Pool, faults: &mut Faults) {
    faults.name(&format!("{path}.name"), &pool.name);
    let visible = |b: u8| b.is_ascii_graphic();
    if pool.cluster.is_empty() || !pool.cluster.bytes().all(visible) {
        faults.add(
            format!("{path}.cluster"),
            "must be visible ASCII without spaces",
        );
    }
    if pool.strategy == Strategy::Weighted && pool.session_threshold.is_none() {
        faults.add(
            format!("{path}.session_threshold"),
            "is missing: strategy weighted needs it",
        );
    }
    if pool.session_threshold == Some(0) {
        faults.add(format!("{path}.session_threshold"), "must be 1 or more");
    }
    discovery::check(&format!("{path}.discovery"), &pool.discovery, faults);
    if let Some(probe) = &pool.probe {
        probed::check(&format!("{path}.probe"), probe, pool.driver, faults);
    }
}

pub(super) fn check_route(path: &str, route: &Route, config: &Config, faults: &mut Faults) {
    let literal = route.path.strip_suffix("{document}").unwrap_or(&route.path);
    let rest_of_path = literal.len() < route.path.len();
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
    let open = format!("{path}.open");
    if pool.driver == Driver::Websocket && route.open != Open::Nothing {
        faults.add(&open, "a websocket pool opens nothing");
    }
    if let Open::Document(name) = &route.open {
        if name.is_empty() {
            faults.add(&open, "the document's name must not be empty");
        }
        if name.contains("{document}") && !rest_of_path {
            faults.add(&open, "uses {document}, which the path does not have");
        }
    }
}
