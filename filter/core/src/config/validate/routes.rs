//! Validates the routes: their paths, and which options fit which action.

use super::{Errors, is_path};
use crate::config::schema::{self, Duration, Permission};
use crate::request::origin;
use crate::routing::{Action, Activity, LoginTimeout, MaxAge, Pattern, Route};

/// Default of `max_age_jitter`.
const MAX_AGE_JITTER: f64 = 0.1;

/// Validates every route.
pub(super) fn validate(raw: Vec<schema::Route>, errors: &mut Errors) -> Vec<Route> {
    errors.require(
        !raw.is_empty(),
        "routes",
        "is empty: every request would get 404",
    );
    let mut routes = Vec::new();
    for (i, route) in raw.into_iter().enumerate() {
        let pattern = match (&route.prefix, &route.path) {
            (Some(prefix), None) if is_path(prefix) => Pattern::Prefix(prefix.clone()),
            (None, Some(path)) if is_path(path) => Pattern::Exact(path.clone()),
            (Some(_), None) | (None, Some(_)) => {
                errors.add(&format!("routes[{i}]"), "must be a path without a query");
                continue;
            }
            _ => {
                errors.add(&format!("routes[{i}]"), "needs either prefix or path");
                continue;
            }
        };
        let action = route.action;
        let bearer = route.bearer == Permission::Allow;
        let anonymous = route.anonymous == Permission::Allow;
        errors.require(
            !bearer || action != Action::Bypass,
            &format!("routes[{i}].bearer"),
            "a bypass route checks no token",
        );
        errors.require(
            !anonymous || action == Action::Authenticate,
            &format!("routes[{i}].anonymous"),
            "is for authenticate routes: bypass checks no session, and an engine requires a token",
        );
        let field = format!("routes[{i}].roles");
        errors.require(
            route.roles.is_empty() || action == Action::Authenticate,
            &field,
            "is for authenticate routes: the service checks the roles of place routes, and bypass checks no session",
        );
        errors.require(
            route.roles.is_empty() || !anonymous,
            &field,
            "a request without a session has no roles: remove anonymous",
        );
        errors.require(
            route.roles.iter().all(|role| !role.is_empty()),
            &field,
            "must not have empty names",
        );
        let host = host(i, &route, errors);
        let plain_http = plain_http(i, &route, errors);
        let on_login_timeout = on_login_timeout(i, &route, errors);
        let max_age = max_age(i, &route, errors);
        routes.push(Route {
            host,
            pattern,
            action,
            plain_http,
            activity: route.activity,
            bearer,
            anonymous,
            on_login_timeout,
            max_age,
            roles: route.roles.into(),
        });
    }
    routes
}

/// The host that a route matches.
fn host(i: usize, route: &schema::Route, errors: &mut Errors) -> Option<String> {
    let host = route.host.as_ref()?;
    let is_host = origin::is_authority(host) && origin::host(host) == host;
    errors.require(
        is_host && !host.bytes().any(|byte| byte.is_ascii_uppercase()),
        &format!("routes[{i}].host"),
        "must be a host in lower case, without port",
    );
    Some(host.clone())
}

/// Whether plain requests are placed.
fn plain_http(i: usize, route: &schema::Route, errors: &mut Errors) -> bool {
    let is_place = route.action == Action::Place;
    let allowed = route.http == Permission::Allow;
    errors.require(
        is_place || !allowed,
        &format!("routes[{i}].http"),
        "is for place routes: other routes take plain requests anyway",
    );
    errors.require(
        is_place || route.activity == Activity::All,
        &format!("routes[{i}].activity"),
        "is for place routes: every request of an authenticate route is activity",
    );
    allowed
}

/// What happens when a session is over; by default what happens to a request without a session.
fn on_login_timeout(i: usize, route: &schema::Route, errors: &mut Errors) -> LoginTimeout {
    let field = format!("routes[{i}].on_login_timeout");
    let anonymous = route.anonymous == Permission::Allow;
    errors.require(
        route.on_login_timeout.is_none() || route.action == Action::Authenticate,
        &field,
        "is for authenticate routes: bypass checks no session, and a WebSocket gets 401",
    );
    errors.require(
        anonymous || route.on_login_timeout != Some(LoginTimeout::Anonymous),
        &field,
        "anonymous requires anonymous: allow",
    );
    route.on_login_timeout.unwrap_or(if anonymous {
        LoginTimeout::Anonymous
    } else {
        LoginTimeout::Login
    })
}

/// The maximum age of a route's WebSockets; zero means no limit.
fn max_age(i: usize, route: &schema::Route, errors: &mut Errors) -> Option<MaxAge> {
    let ms = route.max_age.map(Duration::as_ms).filter(|ms| *ms > 0);
    errors.require(
        ms.is_none() || route.action == Action::Place,
        &format!("routes[{i}].max_age"),
        "is for place routes: other routes have no WebSockets that the filter closes",
    );
    let jitter = route.max_age_jitter.map_or(MAX_AGE_JITTER, |share| share.0);
    errors.require(
        (0.0..=1.0).contains(&jitter),
        &format!("routes[{i}].max_age_jitter"),
        "must be 0 to 1",
    );
    Some(MaxAge { ms: ms?, jitter })
}
