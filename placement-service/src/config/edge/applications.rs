//! Settings of the applications behind the edge and of the routes to them.

use super::address::HostPort;
use super::check_path;
use crate::config::fault_collector::{FaultCollector, SECOND};
use crate::config::route::{Permission, check_roles};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Upstreams that serve the same, and the paths that lead there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// The Envoy cluster.
    pub name: String,
    pub addresses: Vec<HostPort>,
    pub routes: Vec<ApplicationRoute>,
}

/// A path of an application: either `prefix` or `path`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationRoute {
    #[serde(default)]
    pub prefix: Option<String>,
    #[serde(default)]
    pub path: Option<String>,
    pub action: RouteAction,
    /// The time for the whole response.
    #[serde(default = "timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// Whether the tokens of programs are accepted.
    #[serde(default)]
    pub bearer: Permission,
    /// Whether requests without a session are forwarded.
    #[serde(default)]
    pub anonymous: Permission,
    /// Accounts need one of these roles; empty: any account may use the route.
    #[serde(default)]
    pub roles: Vec<String>,
    /// What happens to a request whose session has ended; `None`: what happens to one without a session.
    #[serde(default)]
    pub on_login_timeout: Option<LoginTimeout>,
}

/// What happens to a request whose cookie names a session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginTimeout {
    /// 440 for every client.
    Refuse,
    /// It is forwarded without a token.
    Anonymous,
    /// The login page for page navigations, 440 for other clients.
    Login,
}

impl LoginTimeout {
    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Anonymous => "anonymous",
            Self::Login => "login",
        }
    }
}

/// What the filter does with a request to an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteAction {
    /// Exchanges the login cookie for a JWT.
    Authenticate,
    /// Forwards the request without the headers that clients must not set.
    Bypass,
}

/// The default of Envoy.
const fn timeout() -> Duration {
    Duration::from_secs(15)
}

pub(super) fn check(applications: &[Application], faults: &mut FaultCollector) {
    for (index, application) in applications.iter().enumerate() {
        let path = format!("edge.applications[{index}]");
        faults.check_name(&format!("{path}.name"), &application.name);
        if application.addresses.is_empty() {
            faults.add(format!("{path}.addresses"), "must not be empty");
        }
        for (index, route) in application.routes.iter().enumerate() {
            check_route(&format!("{path}.routes[{index}]"), route, faults);
        }
    }
    let names = applications.iter().map(|one| one.name.as_str());
    faults.check_unique_names("edge.applications", names);
}

fn check_route(path: &str, route: &ApplicationRoute, faults: &mut FaultCollector) {
    match (&route.prefix, &route.path) {
        (Some(prefix), None) => check_path(&format!("{path}.prefix"), prefix, faults),
        (None, Some(exact)) => check_path(&format!("{path}.path"), exact, faults),
        _ => faults.add(path, "needs either prefix or path"),
    }
    let min = Duration::from_millis(1);
    faults.check_range(
        &format!("{path}.timeout"),
        route.timeout,
        min,
        3600 * SECOND,
    );
    let field = format!("{path}.on_login_timeout");
    match (route.action, route.on_login_timeout) {
        (RouteAction::Bypass, Some(_)) => faults.add(field, "a bypass route checks no session"),
        (_, Some(LoginTimeout::Anonymous)) if route.anonymous == Permission::Deny => {
            faults.add(field, "anonymous requires `anonymous: allow`");
        }
        _ => {}
    }
    let roles = format!("{path}.roles");
    check_roles(&roles, &route.roles, faults);
    if !route.roles.is_empty() && route.anonymous == Permission::Allow {
        faults.add(
            &roles,
            "a request without a session has no roles: remove anonymous",
        );
    }
    if route.action == RouteAction::Bypass {
        if !route.roles.is_empty() {
            faults.add(&roles, "a bypass route checks no identity");
        }
        for (field, permission) in [("bearer", route.bearer), ("anonymous", route.anonymous)] {
            if permission == Permission::Allow {
                faults.add(
                    format!("{path}.{field}"),
                    "a bypass route checks no identity",
                );
            }
        }
    }
}
