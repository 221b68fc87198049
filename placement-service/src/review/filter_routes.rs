//! Rules for the filter's routes: each route of the configuration exists with its action and its permissions, and the
//! filter has no others.

use super::Finding;
use super::envoy_routes::{describe, expected_routes};
use super::parts::Part;
use crate::config::{LoginTimeout, Permission};
use crate::render::model::{EdgeModel, EdgeRoute, PathKind};
use std::collections::BTreeSet;

pub(super) fn review(settings: &Part<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let routes = settings
        .get("routes")
        .map(|list| list.items())
        .unwrap_or_default();
    let mut used = BTreeSet::new();
    let hosts = model.routes.virtual_hosts.iter();
    for (host, route) in hosts.flat_map(|one| expected_routes(one, model)) {
        let mut candidates = routes.iter().enumerate();
        let found = candidates.find(|(_, other)| has_host(other, &host) && matches(other, route));
        let Some((index, found)) = found else {
            let message = format!("there is no route for {}", describe(route));
            settings.report_at("routes", message, findings);
            continue;
        };
        used.insert(index);
        review_route(found, route, findings);
    }
    for (index, route) in routes.iter().enumerate() {
        if !used.contains(&index) {
            route.report("no route of the configuration uses it", findings);
        }
    }
}

fn has_host(part: &Part<'_>, host: &Option<String>) -> bool {
    let own = part.text("host");
    own.is_none() || own == host.as_deref()
}

fn matches(part: &Part<'_>, route: &EdgeRoute) -> bool {
    match (part.text("prefix"), part.text("path")) {
        (Some(prefix), _) => route.is_hidden_by(PathKind::Prefix, prefix),
        (None, Some(path)) => route.is_hidden_by(PathKind::Path, path),
        (None, None) => false,
    }
}

fn review_route(part: &Part<'_>, route: &EdgeRoute, findings: &mut Vec<Finding>) {
    let action = part.text("action").unwrap_or_default();
    if action != route.action {
        let expected = route.action;
        let message = format!("is {action}, but {} has {expected}", describe(route));
        part.report_at("action", message, findings);
    }
    review_login_timeout(part, route, findings);
    for (field, permission) in [("bearer", route.bearer), ("anonymous", route.anonymous)] {
        let allowed = part.text(field) == Some("allow");
        if allowed != (permission == Permission::Allow) {
            let expected = if allowed { "deny" } else { "allow" };
            let message = format!("must be {expected} for {}", describe(route));
            part.report_at(field, message, findings);
        }
    }
    review_plain_requests(part, route, findings);
    let roles = part
        .get("roles")
        .map(|list| list.items())
        .unwrap_or_default();
    let roles: BTreeSet<&str> = roles
        .iter()
        .filter_map(|role| role.value().as_str())
        .collect();
    if roles != route.roles.iter().map(String::as_str).collect() {
        let message = format!("must be {:?} for {}", route.roles, describe(route));
        part.report_at("roles", message, findings);
    }
}

/// Which requests that are no WebSockets go to engines, and which of them count as activity.
fn review_plain_requests(part: &Part<'_>, route: &EdgeRoute, findings: &mut Vec<Finding>) {
    if route.cluster.is_some() {
        return;
    }
    let http = match route.http {
        Permission::Allow => "allow",
        Permission::Deny => "deny",
    };
    for (field, expected, default) in [
        ("http", http, "deny"),
        ("activity", route.activity.as_str(), "all"),
    ] {
        if part.text(field).unwrap_or(default) != expected {
            let message = format!("must be {expected} for {}", describe(route));
            part.report_at(field, message, findings);
        }
    }
}

/// Without the setting, a session that is over is treated like none.
fn review_login_timeout(part: &Part<'_>, route: &EdgeRoute, findings: &mut Vec<Finding>) {
    let by_default = |anonymous: bool| {
        if anonymous {
            LoginTimeout::Anonymous
        } else {
            LoginTimeout::Login
        }
    };
    let default = by_default(route.anonymous == Permission::Allow);
    let expected = route.on_login_timeout.unwrap_or(default).as_str();
    let default = by_default(part.text("anonymous") == Some("allow")).as_str();
    let actual = part.text("on_login_timeout").unwrap_or(default);
    if actual != expected {
        let message = format!("is {actual}, but {} has {expected}", describe(route));
        part.report_at("on_login_timeout", message, findings);
    }
}
