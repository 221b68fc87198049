//! Settings of the affinity of a route: which requests have the same key and therefore the same engine, how long a key
//! stays there, and how many an account may have.

use super::{Permission, Route};
use crate::config::fault_collector::{DAY, FaultCollector, SECOND, format_duration};
use crate::config::{Config, Store};
use crate::core::affinity_key::KeyTemplate;
use crate::core::path_template::PathTemplate;
use serde::Deserialize;
use std::time::Duration;

/// The time within which a gateway reports the activity of a key, with reserves for a lost report.
const REPORT_DELAY: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Affinity {
    pub key: AffinityKey,
    pub mode: AffinityMode,
    /// The weight of the key's engine, with `preferred`; `None`: the pool's `weights.document`.
    pub weight: Option<f64>,
    /// How long a key without activity keeps its engine.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
    /// How long an engine may be unhealthy before its keys move.
    #[serde(with = "humantime_serde")]
    pub replace_after: Duration,
    /// What counts against the capacity of an engine; `None`: see [`Affinity::effective_counts`].
    pub counts: Option<AffinityCount>,
    /// Maximum keys of an account at once; `None`: no limit.
    pub per_account: Option<u32>,
    /// Maximum WebSockets of a key at once; `None`: no limit.
    pub streams: Option<u32>,
}

impl Default for Affinity {
    fn default() -> Self {
        Self {
            key: AffinityKey::default(),
            mode: AffinityMode::default(),
            weight: None,
            idle: Duration::from_secs(600),
            replace_after: 30 * SECOND,
            counts: None,
            per_account: None,
            streams: None,
        }
    }
}

impl Affinity {
    /// What counts against the capacity of an engine.
    #[must_use]
    pub fn effective_counts(&self) -> AffinityCount {
        self.counts.unwrap_or(match self.key {
            AffinityKey::Template(_) => AffinityCount::Streams,
            _ => AffinityCount::Key,
        })
    }

    /// Whether keys are kept: each WebSocket has a key of its own otherwise.
    #[must_use]
    pub fn keeps_keys(&self) -> bool {
        self.key != AffinityKey::Stream
    }
}

/// What the requests with one engine have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum AffinityKey {
    /// Nothing: each WebSocket is placed by itself.
    #[default]
    Stream,
    /// The tab of a browser.
    Tab,
    /// The login session.
    Session,
    Account,
    /// Captures of the path.
    Template(String),
}

impl From<String> for AffinityKey {
    fn from(text: String) -> Self {
        match text.as_str() {
            "stream" => Self::Stream,
            "tab" => Self::Tab,
            "session" => Self::Session,
            "account" => Self::Account,
            _ => Self::Template(text),
        }
    }
}

/// How strictly a key stays on its engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AffinityMode {
    /// It moves only when the engine is removed, drained, or unhealthy for `replace_after`.
    #[default]
    Sticky,
    /// The engine gets a better score.
    Preferred,
}

/// What counts against the capacity of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AffinityCount {
    /// Each key once.
    Key,
    /// Each WebSocket.
    Streams,
}

/// The checks that need no other section. `template` is `None` if the path is invalid.
pub(super) fn check(
    at: &str,
    route: &Route,
    template: Option<&PathTemplate>,
    faults: &mut FaultCollector,
) {
    let affinity = &route.affinity;
    let at_affinity = format!("{at}.affinity");
    let at_key = format!("{at_affinity}.key");
    if let AffinityKey::Template(key) = &affinity.key {
        if key.is_empty() {
            faults.add(&at_key, "must not be empty");
        } else if let Some(template) = template
            && let Err(error) = KeyTemplate::parse(key, template)
        {
            faults.add(&at_key, error.to_string());
        }
    }
    let path = format!("{at_affinity}.idle");
    faults.check_range(&path, affinity.idle, SECOND, 30 * DAY);
    let path = format!("{at_affinity}.replace_after");
    faults.check_range(&path, affinity.replace_after, Duration::ZERO, DAY);
    for (field, limit) in [
        ("per_account", affinity.per_account),
        ("streams", affinity.streams),
    ] {
        let path = format!("{at_affinity}.{field}");
        if let Some(limit) = limit {
            faults.check_count(&path, limit, 1_000_000);
            if !affinity.keeps_keys() {
                faults.add(path, "has no effect: affinity.key is stream");
            }
        }
    }
    let path = format!("{at_affinity}.weight");
    match affinity.weight {
        Some(_) if affinity.mode == AffinityMode::Sticky => {
            faults.add(path, "has no effect: affinity.mode is sticky");
        }
        Some(weight) if !(0.0..=1.0).contains(&weight) => faults.add(path, "must be 0 to 1"),
        _ => {}
    }
    check_preferred(&at_affinity, affinity, faults);
    check_http(at, route, faults);
}

/// Engines are preferred without a record of the key, so nothing counts by key.
fn check_preferred(at: &str, affinity: &Affinity, faults: &mut FaultCollector) {
    if affinity.mode == AffinityMode::Sticky {
        return;
    }
    for (field, is_set) in [
        ("counts", affinity.counts.is_some()),
        ("per_account", affinity.per_account.is_some()),
        ("streams", affinity.streams.is_some()),
    ] {
        if is_set {
            let path = format!("{at}.{field}");
            faults.add(path, "has no effect: affinity.mode is preferred");
        }
    }
}

/// A plain request goes where its key is, so the key must have exactly one engine and be known without a WebSocket.
fn check_http(at: &str, route: &Route, faults: &mut FaultCollector) {
    if route.http == Permission::Deny {
        return;
    }
    let affinity = &route.affinity;
    let path = format!("{at}.affinity.key");
    match affinity.key {
        AffinityKey::Stream => {
            let message = "must be session, account or captures of the path: http is allow";
            faults.add(path, message);
        }
        AffinityKey::Tab => {
            let message = "only WebSockets have a tab, and http is allow";
            faults.add(path, message);
        }
        AffinityKey::Session | AffinityKey::Account | AffinityKey::Template(_) => {}
    }
    if affinity.mode == AffinityMode::Preferred {
        let message = "must be sticky: http is allow, and plain requests need one engine";
        faults.add(format!("{at}.affinity.mode"), message);
    }
}

/// Keys are kept in the store.
pub(in crate::config) fn check_store(config: &Config, faults: &mut FaultCollector) {
    if !matches!(config.store, Store::RedisJwt(_)) {
        return;
    }
    for (index, route) in config.routes.iter().enumerate() {
        if route.affinity.keeps_keys() {
            let message = "must be stream: a store of kind redis-jwt keeps no keys";
            faults.add(format!("routes[{index}].affinity.key"), message);
        }
    }
}

/// A gateway may use what it knows of a key for as long as its cache, and reports activity a moment later. A key that
/// expires earlier could move while its requests still go to the old engine.
pub(in crate::config) fn check_cache(config: &Config, faults: &mut FaultCollector) {
    let min = config.edge.cache.ttl.saturating_add(REPORT_DELAY);
    for (index, route) in config.routes.iter().enumerate() {
        // A shorter time than a second is a fault of its own.
        if route.affinity.keeps_keys() && (SECOND..=min).contains(&route.affinity.idle) {
            let min = format_duration(min);
            let message = format!("must be longer than {min}: edge.cache.ttl and a report");
            faults.add(format!("routes[{index}].affinity.idle"), message);
        }
    }
}

/// Engines that answer plain requests on the host of the login can act as its users: their pages have the same origin.
pub(in crate::config) fn warn_of_shared_hosts(config: &Config, warnings: &mut Vec<String>) {
    let login = config.login.public_url.as_deref();
    let login = login.and_then(|url| url.split_once("://"));
    let login = login.map(|(_, authority)| authority.trim_end_matches('/'));
    let login = login.map(|authority| match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    });
    for (index, route) in config.routes.iter().enumerate() {
        let is_shared = match (&route.host, login) {
            (Some(host), Some(login)) => host.eq_ignore_ascii_case(login),
            _ => true,
        };
        if route.http == Permission::Allow && is_shared {
            warnings.push(format!(
                "routes[{index}].http is allow on the host of /login: pages of its engines can act as the user who opens them; set routes[{index}].host and login.public_url to two hosts"
            ));
        }
    }
}
