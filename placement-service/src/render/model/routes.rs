//! The routes of the edge, in the order in which Envoy and the filter match them: routes to engines, the service's
//! public paths, applications. The edge knows a path up to its first capture; the service knows the rest.

use super::clusters::PAGES_CLUSTER;
use super::{fault, format_duration};
use crate::config::fault::Fault;
use crate::config::{
    Activity, Application, ApplicationRoute, Config, LoginTimeout, Permission, Route, RouteAction,
};
use crate::core::path_template::PathTemplate;
use crate::http::paths::{Availability, PUBLIC_PATHS, PublicPath};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Time for a response of the service to a client.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for a request with its body, where the listener has no limit for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How a route compares its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathKind {
    Prefix,
    Path,
}

/// A route of Envoy and of the filter.
#[derive(Clone, Debug, Serialize)]
pub struct EdgeRoute {
    /// The host of its requests, without port; `None`: any.
    pub host: Option<String>,
    pub kind: PathKind,
    pub path: String,
    /// `place`, `authenticate` or `bypass`.
    pub action: &'static str,
    /// The cluster; `None`: the filter selects it.
    pub cluster: Option<String>,
    /// Time for the whole response; `None`: no limit.
    pub timeout: Option<String>,
    /// Time for the whole request and its response; `None`: no limit besides the others.
    pub max_duration: Option<String>,
    /// Whether requests to engines may be no WebSockets.
    pub http: Permission,
    /// Which requests to engines count as activity.
    pub activity: Activity,
    /// Whether tokens of programs are accepted.
    pub bearer: Permission,
    /// Whether requests without a session are forwarded.
    pub anonymous: Permission,
    /// What happens when a session is over; `None`: the filter's default.
    pub on_login_timeout: Option<LoginTimeout>,
    /// The age at which a WebSocket is closed.
    pub max_age: Option<String>,
    pub max_age_jitter: f64,
    /// The filter accepts accounts with one of these roles; empty: any. The service checks those of `place` routes.
    pub roles: Vec<String>,
    /// A comment.
    pub about: &'static str,
    /// The setting that the route comes from; empty for the service's own paths.
    #[serde(skip)]
    source: String,
}

/// In order: the first match wins.
#[derive(Clone, Debug, Serialize)]
pub struct Routes {
    pub place: Vec<EdgeRoute>,
    pub service: Vec<EdgeRoute>,
    pub applications: Vec<EdgeRoute>,
    /// By host: first those of one host, then the one for all others.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// What Envoy does with the requests to a host. On a host of its own, the service's paths come first, so that users can
/// log in there.
#[derive(Clone, Debug, Serialize)]
pub struct VirtualHost {
    /// `None`: all other hosts.
    pub host: Option<String>,
    /// The routes to engines.
    pub place: Vec<EdgeRoute>,
}

impl Routes {
    pub(super) fn new(config: &Config, faults: &mut Vec<Fault>) -> Self {
        let service = PUBLIC_PATHS.iter().filter(|public| is_used(public, config));
        let applications = config.edge.applications.iter().enumerate();
        let place = place_routes(&config.routes, faults);
        let plain_http = place.iter().any(|route| route.http == Permission::Allow);
        let service = service.map(|public| service_route(public, plain_http));
        let applications =
            applications.flat_map(|(index, one)| application_routes(index, one, plain_http));
        let routes = Self {
            service: service.collect(),
            applications: applications.collect(),
            virtual_hosts: virtual_hosts(&place),
            place,
        };
        routes.check_order(faults);
        routes
    }

    /// All of them in order.
    pub fn all(&self) -> impl Iterator<Item = &EdgeRoute> {
        self.place
            .iter()
            .chain(&self.service)
            .chain(&self.applications)
    }

    /// A route that an earlier one hides would never be used.
    fn check_order(&self, faults: &mut Vec<Fault>) {
        let all: Vec<&EdgeRoute> = self.all().collect();
        for (index, route) in all.iter().enumerate() {
            let earlier = all.iter().take(index);
            let Some(hiding) = earlier.into_iter().find(|other| route.is_hidden(other)) else {
                continue;
            };
            let (path, other) = (&route.path, &hiding.path);
            if route.source.is_empty() {
                let message = format!("{other:?} hides {path:?}, a path of the service");
                fault(faults, &hiding.source, message);
            } else {
                let message = format!("{path:?} is never reached: {other:?} matches before it");
                fault(faults, &route.source, message);
            }
        }
    }
}

impl EdgeRoute {
    fn is_same_match(&self, other: &Self) -> bool {
        (&self.host, self.kind, &self.path) == (&other.host, other.kind, &other.path)
    }

    /// A setting in which two routes with the same match differ.
    fn differing_field(&self, other: &Self) -> Option<&'static str> {
        [
            ("http", self.http == other.http),
            ("activity", self.activity == other.activity),
            ("bearer", self.bearer == other.bearer),
            ("max_age", self.max_age == other.max_age),
            (
                "max_age_jitter",
                self.max_age_jitter.to_bits() == other.max_age_jitter.to_bits(),
            ),
        ]
        .into_iter()
        .find_map(|(field, is_same)| (!is_same).then_some(field))
    }

    /// Whether another route matches every request that this one matches.
    fn is_hidden(&self, other: &Self) -> bool {
        let has_host = other.host.is_none() || other.host == self.host;
        has_host && self.is_hidden_by(other.kind, &other.path)
    }

    /// Whether a route of that path matches every path that this one matches.
    #[must_use]
    pub fn is_hidden_by(&self, kind: PathKind, path: &str) -> bool {
        match kind {
            PathKind::Prefix => self.path.starts_with(path),
            PathKind::Path => self.kind == PathKind::Path && self.path == path,
        }
    }
}

fn virtual_hosts(place: &[EdgeRoute]) -> Vec<VirtualHost> {
    let hosts: BTreeSet<&String> = place.iter().filter_map(|one| one.host.as_ref()).collect();
    let hosts = hosts.into_iter().cloned().map(Some).chain([None]);
    let virtual_host = |host: Option<String>| {
        let of_host = |route: &&EdgeRoute| route.host.is_none() || route.host == host;
        let place = place.iter().filter(of_host).cloned().collect();
        VirtualHost { host, place }
    };
    hosts.map(virtual_host).collect()
}

/// The time for a request that has so long for its response.
fn max_duration(timeout: Duration, plain_http: bool) -> Option<String> {
    let is_limited = plain_http && !timeout.is_zero();
    is_limited.then(|| format_duration(timeout.saturating_add(REQUEST_TIMEOUT)))
}

/// In the configured order, except that a route precedes those that match all of its requests. Routes that the edge
/// cannot tell apart are one, and must say the same of it.
fn place_routes(routes: &[Route], faults: &mut Vec<Fault>) -> Vec<EdgeRoute> {
    let routes = routes.iter().enumerate();
    let routes = routes.filter_map(|(index, one)| Some((index, one, one.template().ok()?)));
    let (with_host, without): (Vec<_>, Vec<_>) =
        routes.partition(|(_, route, _)| route.host.is_some());
    let mut edge_routes: Vec<EdgeRoute> = Vec::new();
    for (index, route, template) in with_host.into_iter().chain(without) {
        let edge_route = place_route(index, route, &template);
        let mut known = edge_routes.iter();
        let Some(known) = known.find(|known| known.is_same_match(&edge_route)) else {
            let mut others = edge_routes.iter();
            let hiding = others.position(|other| edge_route.is_hidden(other));
            edge_routes.insert(hiding.unwrap_or(edge_routes.len()), edge_route);
            continue;
        };
        if let Some(field) = known.differing_field(&edge_route) {
            let (path, other) = (&route.path, &known.source);
            let message = format!(
                "must be the same as at {other}: the edge knows {path:?} only up to {:?}",
                known.path
            );
            fault(faults, format!("routes[{index}].{field}"), message);
        }
    }
    edge_routes
}

fn place_route(index: usize, route: &Route, template: &PathTemplate) -> EdgeRoute {
    let kind = match template.captures().next() {
        Some(_) => PathKind::Prefix,
        None => PathKind::Path,
    };
    EdgeRoute {
        host: route.host.clone(),
        kind,
        path: template.literal_prefix(),
        action: "place",
        cluster: None,
        timeout: None,
        max_duration: None,
        http: route.http,
        activity: route.activity,
        bearer: route.bearer,
        anonymous: Permission::Deny,
        on_login_timeout: None,
        max_age: (!route.max_age.is_zero()).then(|| format_duration(route.max_age)),
        max_age_jitter: route.max_age_jitter,
        roles: Vec::new(),
        about: "",
        source: format!("routes[{index}].path"),
    }
}

fn is_used(public: &PublicPath, config: &Config) -> bool {
    match public.when {
        Availability::Always => true,
        Availability::Oidc => !config.oidc.is_empty(),
        Availability::SecurityEvents => config.security_events.is_some(),
        Availability::DemoPage => config.edge.demo_page,
    }
}

fn service_route(public: &PublicPath, plain_http: bool) -> EdgeRoute {
    let kind = if public.is_prefix() {
        PathKind::Prefix
    } else {
        PathKind::Path
    };
    EdgeRoute {
        host: None,
        kind,
        path: public.path.to_owned(),
        action: "bypass",
        cluster: Some(PAGES_CLUSTER.to_owned()),
        timeout: Some(format_duration(SERVICE_TIMEOUT)),
        max_duration: max_duration(SERVICE_TIMEOUT, plain_http),
        http: Permission::Allow,
        activity: Activity::All,
        bearer: Permission::Deny,
        anonymous: Permission::Deny,
        on_login_timeout: None,
        max_age: None,
        max_age_jitter: 0.0,
        roles: Vec::new(),
        about: public.about,
        source: String::new(),
    }
}

fn application_routes(
    index: usize,
    application: &Application,
    plain_http: bool,
) -> impl Iterator<Item = EdgeRoute> {
    let routes = application.routes.iter().enumerate();
    routes.filter_map(move |(nth, route)| {
        let source = format!("edge.applications[{index}].routes[{nth}]");
        let timeout = route.timeout;
        let route = application_route(route, &application.name, source)?;
        Some(EdgeRoute {
            max_duration: max_duration(timeout, plain_http),
            ..route
        })
    })
}

/// `None` for a route without a path, which the checks of the configuration refuse.
fn application_route(route: &ApplicationRoute, cluster: &str, source: String) -> Option<EdgeRoute> {
    let (kind, path) = match (&route.prefix, &route.path) {
        (Some(prefix), _) => (PathKind::Prefix, prefix),
        (None, Some(path)) => (PathKind::Path, path),
        (None, None) => return None,
    };
    Some(EdgeRoute {
        host: None,
        kind,
        path: path.clone(),
        action: match route.action {
            RouteAction::Authenticate => "authenticate",
            RouteAction::Bypass => "bypass",
        },
        cluster: Some(cluster.to_owned()),
        timeout: Some(format_duration(route.timeout)),
        max_duration: None,
        http: Permission::Allow,
        activity: Activity::All,
        bearer: route.bearer,
        anonymous: route.anonymous,
        on_login_timeout: route.on_login_timeout,
        max_age: None,
        max_age_jitter: 0.0,
        roles: route.roles.clone(),
        about: "",
        source,
    })
}
