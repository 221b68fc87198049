//! Settings of routes, and their checks: which pool serves a path, what is opened there, and who may use it.

use super::fault_collector::{FaultCollector, SECOND};
use super::{Config, Driver};
use crate::core::names::is_name;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Stands for the rest of the path in [`Route::path`].
pub const DOCUMENT_PLACEHOLDER: &str = "{document}";

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
    /// Accounts need one of these roles; empty: any account may use the route.
    #[serde(default)]
    pub roles: Vec<String>,
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

/// The checks of routes that need no pool.
pub(super) fn check_routes(config: &Config, faults: &mut FaultCollector) {
    for (index, route) in config.routes.iter().enumerate() {
        let (literal, rest_of_path) = match route.pattern() {
            PathPattern::Prefix(prefix) => (prefix, true),
            PathPattern::Exact(exact) => (exact, false),
        };
        let path = format!("routes[{index}].path");
        if !literal.starts_with('/') || literal.contains(['{', '}', '?', '#']) {
            let message = "must start with / and may end in {document}, without a query";
            faults.add(path, message);
        } else if rest_of_path && !literal.ends_with('/') {
            faults.add(path, "{document} must follow a /");
        }
        let path = format!("routes[{index}].max_age");
        faults.check_range(
            &path,
            route.max_age,
            Duration::ZERO,
            365 * 24 * 3600 * SECOND,
        );
        if !(0.0..=1.0).contains(&route.max_age_jitter) {
            faults.add(format!("{path}_jitter"), "must be 0 to 1");
        }
        check_roles(&format!("routes[{index}].roles"), &route.roles, faults);
        let open = format!("routes[{index}].open");
        if let OpenTemplate::Document(name) = &route.open {
            if name.is_empty() {
                faults.add(&open, "the document's name must not be empty");
            }
            if name.contains("{document}") && !rest_of_path {
                faults.add(&open, "uses {document}, which the path does not have");
            }
        }
    }
}

/// The roles of a route must be names that an account can have.
pub(super) fn check_roles(path: &str, roles: &[String], faults: &mut FaultCollector) {
    for (index, role) in roles.iter().enumerate() {
        if !is_name(role) {
            faults.add(format!("{path}[{index}]"), "must be a role's name");
        }
    }
}

/// Each route names a pool, and one that can open what the route opens.
pub(super) fn check_targets(config: &Config, faults: &mut FaultCollector) {
    for (index, route) in config.routes.iter().enumerate() {
        let pool = config.pools.iter().find(|pool| pool.name == route.pool);
        match pool {
            None => faults.add(
                format!("routes[{index}].pool"),
                format!("there is no pool {:?}", route.pool),
            ),
            Some(pool) if pool.driver == Driver::Websocket => {
                if route.open != OpenTemplate::Nothing {
                    let path = format!("routes[{index}].open");
                    faults.add(path, "a websocket pool opens nothing");
                }
            }
            Some(_) => {}
        }
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
    fn a_route_names_a_pool_that_can_open_its_target() {
        for (route, expected) in [
            (
                "{ path: '/app/{document}', pool: qxi }",
                "routes[0].pool: there is no pool \"qxi\"",
            ),
            (
                "{ path: '/app{document}', pool: qix }",
                "routes[0].path: {document} must follow a /",
            ),
            (
                "{ path: '/{document}/x', pool: qix }",
                "routes[0].path: must start with / and may end in {document}, without a query",
            ),
            (
                "{ path: /app, pool: qix, open: { document: '{document}' } }",
                "routes[0].open: uses {document}, which the path does not have",
            ),
            (
                "{ path: /app, pool: qix, open: { document: '' } }",
                "routes[0].open: the document's name must not be empty",
            ),
        ] {
            assert_eq!(faults(&format!("{POOL}routes: [{route}]")), expected);
        }
        let generic = POOL.replace("driver: qix", "driver: websocket");
        let text = format!("{generic}routes: [{{ path: /a, pool: qix, open: session-app }}]");
        assert_eq!(
            faults(&text),
            "routes[0].open: a websocket pool opens nothing"
        );
    }
}
