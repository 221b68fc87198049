//! The checks of routes against each other: a route that never gets a request, and a scope that would take requests of
//! another route.

use super::{AffinityKey, Permission, Route};
use crate::config::fault_collector::FaultCollector;
use crate::core::affinity_key::KeyTemplate;
use crate::core::path_template::PathTemplate;
use std::cmp::Ordering;

pub(super) fn check(routes: &[Route], faults: &mut FaultCollector) {
    let templates = routes.iter().enumerate();
    let templates =
        templates.filter_map(|(index, route)| Some((index, route, route.template().ok()?)));
    let templates: Vec<(usize, &Route, PathTemplate)> = templates.collect();
    for (position, (index, route, template)) in templates.iter().enumerate() {
        let earlier = templates.iter().take(position);
        let mut same = earlier.filter(|(_, other, _)| other.host == route.host);
        if let Some((other, ..)) = same.find(|(.., other)| template.matches_same_paths(other)) {
            let message = format!("matches the same paths as routes[{other}]");
            faults.add(format!("routes[{index}].path"), message);
        }
        check_scope(*index, route, template, &templates, faults);
    }
}

/// A gateway sends further requests of a scope to the scope's engine without a call, so no other route may take a path
/// in it.
fn check_scope(
    index: usize,
    route: &Route,
    template: &PathTemplate,
    others: &[(usize, &Route, PathTemplate)],
    faults: &mut FaultCollector,
) {
    if route.http == Permission::Deny || !route.affinity.keeps_keys() {
        return;
    }
    let key = match &route.affinity.key {
        AffinityKey::Template(key) => KeyTemplate::parse(key, template).ok(),
        _ => None,
    };
    let captures = key.as_ref().map(KeyTemplate::captures).unwrap_or_default();
    let is_prefix = template.has_prefix_scope(&captures);
    for (other_index, other, other_template) in others {
        let same_host = match (&route.host, &other.host) {
            (Some(host), Some(other)) => host == other,
            _ => true,
        };
        if *other_index != index
            && same_host
            && compare_precedence(other, other_template, route, template) == Ordering::Less
            // A scope of one path contains a path of this route alone, on the hosts of this route.
            && (is_prefix || route.host != other.host)
            && template.scope_may_contain(&captures, other_template)
        {
            let message = format!(
                "the scope of a key of {:?} may contain paths of routes[{other_index}], {:?}: choose paths that do not overlap",
                route.path, other.path
            );
            faults.add(format!("routes[{index}].path"), message);
        }
    }
}

/// `Less`: the first route takes the requests that both match. A host precedes any host; then the paths decide.
pub(crate) fn compare_precedence(
    one: &Route,
    one_template: &PathTemplate,
    other: &Route,
    other_template: &PathTemplate,
) -> Ordering {
    let hosts = other.host.is_some().cmp(&one.host.is_some());
    hosts.then_with(|| one_template.compare_precedence(other_template))
}
