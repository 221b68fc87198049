//! Settings of routes, and their checks: which pool serves a path, what is opened there, who may use it, and which
//! requests stay on one engine.

mod affinity;
mod headers;
mod overlap;

pub use affinity::{Affinity, AffinityCount, AffinityKey, AffinityMode};
pub(super) use affinity::{check_cache, check_store, warn_of_shared_hosts};
pub(crate) use overlap::compare_precedence;

use super::fault_collector::{FaultCollector, SECOND};
use super::{Config, Driver};
use crate::core::names::is_name;
use crate::core::path_template::{PathTemplate, PathTemplateError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Stands for the rest of the path in [`OpenTemplate::Document`].
pub const DOCUMENT_PLACEHOLDER: &str = "{document}";

/// Which pool serves a path, and what is opened there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A path, with `{name}` for one segment, or with `{rest}` or `{document}` at its end for the rest of the path.
    pub path: String,
    /// The host of the requests, without port; `None`: any.
    #[serde(default)]
    pub host: Option<String>,
    pub pool: String,
    /// What the driver opens before the client connects; `websocket` pools open nothing.
    #[serde(default)]
    pub open: OpenTemplate,
    /// Whether requests that are no WebSockets go to the engine of their key.
    #[serde(default)]
    pub http: Permission,
    /// Which requests keep the session and the key alive.
    #[serde(default)]
    pub activity: Activity,
    /// Which requests stay on one engine.
    #[serde(default)]
    pub affinity: Affinity,
    /// The path of requests to the engine; `None`: the one of the client.
    #[serde(default)]
    pub rewrite: Option<String>,
    /// Headers of requests to the engine, which clients cannot set.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
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

impl Route {
    /// Which paths it matches.
    ///
    /// # Errors
    /// The path is invalid; the checks of the configuration refuse that.
    pub fn template(&self) -> Result<PathTemplate, PathTemplateError> {
        PathTemplate::parse(&self.path)
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

/// Which requests of clients count as activity of their session and their key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    #[default]
    All,
    /// All but GET, HEAD and OPTIONS: for pages that poll for ever. Data on WebSockets counts.
    Unsafe,
    None,
}

impl Activity {
    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Unsafe => "unsafe",
            Self::None => "none",
        }
    }
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

/// The checks of routes that need no other section.
pub(super) fn check_routes(config: &Config, faults: &mut FaultCollector) {
    for (index, route) in config.routes.iter().enumerate() {
        let at = format!("routes[{index}]");
        let path = format!("{at}.max_age");
        faults.check_range(
            &path,
            route.max_age,
            Duration::ZERO,
            365 * 24 * 3600 * SECOND,
        );
        if !(0.0..=1.0).contains(&route.max_age_jitter) {
            faults.add(format!("{path}_jitter"), "must be 0 to 1");
        }
        if let Some(host) = &route.host {
            check_host(&format!("{at}.host"), host, faults);
        }
        headers::check(&at, route, faults);
        check_roles(&format!("{at}.roles"), &route.roles, faults);
        match route.template() {
            Ok(template) => {
                check_open(&at, route, &template, faults);
                check_rewrite(&at, route, &template, faults);
                affinity::check(&at, route, Some(&template), faults);
            }
            Err(error) => {
                faults.add(format!("{at}.path"), error.to_string());
                affinity::check(&at, route, None, faults);
            }
        }
    }
    overlap::check(&config.routes, faults);
}

/// A host name or an IP address, as requests name it in lower case. No captures: the cookie of a login reaches no other
/// host, so each host needs a login of its own.
fn check_host(path: &str, host: &str, faults: &mut FaultCollector) {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    if host.contains(['{', '*']) {
        let message = "must be one host: the login cookie of a host reaches no other one";
        faults.add(path, message);
    } else if host.len() > 253 || !host.split('.').all(is_label) {
        let message = "must be a host in lower case, without port, such as lab.example.com";
        faults.add(path, message);
    }
}

fn check_open(at: &str, route: &Route, template: &PathTemplate, faults: &mut FaultCollector) {
    let OpenTemplate::Document(name) = &route.open else {
        return;
    };
    let path = format!("{at}.open");
    if name.is_empty() {
        faults.add(&path, "the document's name must not be empty");
    }
    if name.contains(DOCUMENT_PLACEHOLDER) && template.rest() != Some("document") {
        faults.add(&path, "uses {document}, which the path does not have");
    }
}

/// A rewrite replaces what precedes the rest of the path, so that it holds for every request of a scope.
fn check_rewrite(at: &str, route: &Route, template: &PathTemplate, faults: &mut FaultCollector) {
    let Some(rewrite) = &route.rewrite else {
        return;
    };
    let path = format!("{at}.rewrite");
    if !rewrite.starts_with('/') {
        faults.add(path, "must start with /");
        return;
    }
    let target = match PathTemplate::parse(rewrite) {
        Ok(target) => target,
        Err(error) => {
            faults.add(path, error.to_string());
            return;
        }
    };
    for name in target.captures() {
        if !template.captures().any(|capture| capture == name) {
            let message = format!("uses {{{name}}}, which the path does not have");
            faults.add(&path, message);
        }
    }
    if let Some(rest) = template.rest()
        && target.rest() != Some(rest)
    {
        faults.add(&path, format!("must end in {{{rest}}}, as the path does"));
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
        let at = format!("routes[{index}]");
        let pool = config.pools.iter().find(|pool| pool.name == route.pool);
        match pool {
            None => faults.add(
                format!("{at}.pool"),
                format!("there is no pool {:?}", route.pool),
            ),
            Some(pool) if pool.driver == Driver::Websocket => {
                if route.open != OpenTemplate::Nothing {
                    let path = format!("{at}.open");
                    faults.add(path, "a websocket pool opens nothing");
                }
            }
            Some(_) if route.rewrite.is_some() => {
                let message = "a qix pool sets the path of its requests itself";
                faults.add(format!("{at}.rewrite"), message);
            }
            Some(_) => {}
        }
    }
}

/// The headers that no client may set: those of `edge.strip_headers`, and those of routes.
#[must_use]
pub(crate) fn identity_headers(config: &Config) -> Vec<String> {
    let listed = config.edge.strip_headers.iter();
    let of_routes = config.routes.iter().flat_map(|route| route.headers.keys());
    let mut seen = BTreeSet::new();
    let all = listed.chain(of_routes);
    all.filter(|name| seen.insert(*name)).cloned().collect()
}

#[cfg(test)]
mod tests;
