//! The routes of the edge, in the order in which Envoy and the filter match them: WebSockets to engines, the service's
//! public paths, applications.

use super::clusters::PAGES_CLUSTER;
use super::{fault, format_duration};
use crate::config::fault::Fault;
use crate::config::{
    Application, ApplicationRoute, Config, LoginTimeout, PathPattern, Permission, Route,
    RouteAction,
};
use crate::http::paths::{Availability, PUBLIC_PATHS, PublicPath};
use serde::Serialize;
use std::time::Duration;

/// Time for a response of the service to a client.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(15);

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
    pub kind: PathKind,
    pub path: String,
    /// `place`, `authenticate` or `bypass`.
    pub action: &'static str,
    /// The cluster; `None`: the filter selects it.
    pub cluster: Option<String>,
    /// Time for the whole response; `None`: no limit.
    pub timeout: Option<String>,
    /// Whether tokens of programs are accepted.
    pub bearer: Permission,
    /// Whether requests without a session are forwarded.
    pub anonymous: Permission,
    /// What happens when a session is over; `None`: the filter's default.
    pub on_login_timeout: Option<LoginTimeout>,
    /// The age at which a WebSocket is closed.
    pub max_age: Option<String>,
    pub max_age_jitter: f64,
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
}

impl Routes {
    pub(super) fn new(config: &Config, faults: &mut Vec<Fault>) -> Self {
        let place = config.routes.iter().enumerate();
        let place = place.map(|(index, route)| place_route(index, route));
        let service = PUBLIC_PATHS.iter().filter(|public| is_used(public, config));
        let applications = config.edge.applications.iter().enumerate();
        let routes = Self {
            place: place.collect(),
            service: service.map(service_route).collect(),
            applications: applications
                .flat_map(|(index, one)| application_routes(index, one))
                .collect(),
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
            let Some(hiding) = earlier
                .into_iter()
                .find(|other| route.is_hidden_by(other.kind, &other.path))
            else {
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
    /// Whether a route of that path matches every path that this one matches.
    #[must_use]
    pub fn is_hidden_by(&self, kind: PathKind, path: &str) -> bool {
        match kind {
            PathKind::Prefix => self.path.starts_with(path),
            PathKind::Path => self.kind == PathKind::Path && self.path == path,
        }
    }
}

fn place_route(index: usize, route: &Route) -> EdgeRoute {
    let (kind, path) = match route.pattern() {
        PathPattern::Prefix(prefix) => (PathKind::Prefix, prefix),
        PathPattern::Exact(path) => (PathKind::Path, path),
    };
    EdgeRoute {
        kind,
        path: path.to_owned(),
        action: "place",
        cluster: None,
        timeout: None,
        bearer: route.bearer,
        anonymous: Permission::Deny,
        on_login_timeout: None,
        max_age: (!route.max_age.is_zero()).then(|| format_duration(route.max_age)),
        max_age_jitter: route.max_age_jitter,
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

fn service_route(public: &PublicPath) -> EdgeRoute {
    let kind = if public.is_prefix() {
        PathKind::Prefix
    } else {
        PathKind::Path
    };
    EdgeRoute {
        kind,
        path: public.path.to_owned(),
        action: "bypass",
        cluster: Some(PAGES_CLUSTER.to_owned()),
        timeout: Some(format_duration(SERVICE_TIMEOUT)),
        bearer: Permission::Deny,
        anonymous: Permission::Deny,
        on_login_timeout: None,
        max_age: None,
        max_age_jitter: 0.0,
        about: public.about,
        source: String::new(),
    }
}

fn application_routes(index: usize, application: &Application) -> impl Iterator<Item = EdgeRoute> {
    let routes = application.routes.iter().enumerate();
    routes.filter_map(move |(nth, route)| {
        let source = format!("edge.applications[{index}].routes[{nth}]");
        application_route(route, &application.name, source)
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
        kind,
        path: path.clone(),
        action: match route.action {
            RouteAction::Authenticate => "authenticate",
            RouteAction::Bypass => "bypass",
        },
        cluster: Some(cluster.to_owned()),
        timeout: Some(format_duration(route.timeout)),
        bearer: route.bearer,
        anonymous: route.anonymous,
        on_login_timeout: route.on_login_timeout,
        max_age: None,
        max_age_jitter: 0.0,
        about: "",
        source,
    })
}
