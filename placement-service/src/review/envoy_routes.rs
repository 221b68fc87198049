//! Rules for Envoy's routes: each route of the configuration exists and leads to its kind of upstream; WebSockets have
//! no time limit but the session's; requests to the service are buffered, use a cluster of their own, and reach only its
//! public paths.

use super::Finding;
use super::listener::BUFFER;
use super::parts::{Part, Parts};
use crate::render::model::{EdgeModel, EdgeRoute, PathKind, VirtualHost};
use std::collections::BTreeSet;

/// The header by which the filter selects the cluster.
const CLUSTER_HEADER: &str = "x-berth-cluster";
/// Paths of the service that no client may reach.
const PRIVATE_PATHS: [&str; 4] = ["/v1/", "/health/", "/metrics", "/openapi.json"];

/// A route of a file.
struct EnvoyRoute<'a, 'b> {
    part: &'b Part<'a>,
    /// The host of its virtual host; `None`: any.
    host: Option<String>,
    kind: PathKind,
    path: String,
    target: Part<'a>,
}

impl EnvoyRoute<'_, '_> {
    fn matches(&self, route: &EdgeRoute) -> bool {
        route.is_hidden_by(self.kind, &self.path)
    }

    fn to_engine(&self) -> bool {
        self.target.text("cluster_header").is_some()
    }
}

pub(super) fn review(parts: &Parts<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let Some(first) = parts.routes.first().or(parts.managers.first()) else {
        return;
    };
    let mut routes = Vec::new();
    let mut placed = Vec::new();
    for part in &parts.routes {
        if let Some(route) = read_route(part, parts) {
            if is_for_placed(part) {
                placed.push(route);
            } else {
                routes.push(route);
            }
        } else {
            let message =
                "is neither prefix nor path: it cannot be compared with the configuration";
            part.report_at("match", message, findings);
        }
    }
    if model.routes.all().any(|route| route.cluster.is_none()) {
        for route in &placed {
            review_place_route(route, model, findings);
            if !parts.managers.is_empty() {
                review_upgrade(route, findings);
            }
        }
        if placed.is_empty() {
            let message = format!(
                "there is no route for requests with {CLUSTER_HEADER}: their path is the engine's"
            );
            first.report_whole(message, findings);
        }
    }
    let calls = calls_clusters(parts, model);
    let mut used = BTreeSet::new();
    let mut reviewed = BTreeSet::new();
    let mut service_clusters = BTreeSet::new();
    let hosts = model.routes.virtual_hosts.iter();
    for (host, route) in hosts.flat_map(|one| expected_routes(one, model)) {
        // A file may have one virtual host for all.
        let is_own = |other: &EnvoyRoute<'_, '_>| other.host == host;
        let has_own = routes.iter().any(is_own);
        let mut candidates = routes.iter().enumerate();
        let found = candidates.find(|(_, other)| {
            let has_host = if has_own {
                is_own(other)
            } else {
                other.host.is_none()
            };
            has_host && other.matches(route)
        });
        let Some((index, found)) = found else {
            let message = format!("there is no route for {}", describe(route));
            first.report_whole(message, findings);
            continue;
        };
        used.insert(index);
        // One route of a file may serve several of the configuration: one finding is enough for those of one kind.
        if !reviewed.insert((index, &route.cluster)) {
            continue;
        }
        if route.cluster.is_none() {
            review_place_route(found, model, findings);
            if !parts.managers.is_empty() {
                review_upgrade(found, findings);
            }
            continue;
        }
        review_cluster(found, route, &calls, findings);
        if route.cluster.as_ref() == Some(&model.clusters.pages.name) {
            service_clusters.extend(found.target.text("cluster").map(str::to_owned));
            review_buffer(found, model, findings);
        }
    }
    for (index, route) in routes.iter().enumerate() {
        let cluster = route.target.text("cluster").unwrap_or_default();
        if service_clusters.contains(cluster) {
            review_private_paths(route, findings);
        }
        if !used.contains(&index) {
            let message = "no route of the configuration uses it";
            route.part.report_at("match", message, findings);
        }
    }
}

/// The routes of a virtual host, each after its host.
pub(super) fn expected_routes<'a>(
    virtual_host: &'a VirtualHost,
    model: &'a EdgeModel,
) -> impl Iterator<Item = (Option<String>, &'a EdgeRoute)> {
    let (service, applications) = (&model.routes.service, &model.routes.applications);
    let routes = virtual_host.place.iter().chain(service).chain(applications);
    routes.map(|route| (virtual_host.host.clone(), route))
}

/// Whether a route takes the requests that the filter has placed, whatever their path is.
fn is_for_placed(part: &Part<'_>) -> bool {
    let headers = part.at("match.headers");
    let headers = headers.map(|headers| headers.items()).unwrap_or_default();
    headers
        .iter()
        .any(|header| header.text("name") == Some(CLUSTER_HEADER))
}

fn read_route<'a, 'b>(part: &'b Part<'a>, parts: &Parts<'_>) -> Option<EnvoyRoute<'a, 'b>> {
    let matcher = part.get("match")?;
    let (kind, path) = match (matcher.text("prefix"), matcher.text("path")) {
        (Some(prefix), None) => (PathKind::Prefix, prefix),
        (None, Some(path)) => (PathKind::Path, path),
        _ => return None,
    };
    let mut virtual_hosts = parts.virtual_hosts.iter();
    let virtual_host = virtual_hosts.find(|virtual_host| part.is_in(virtual_host));
    let domains = virtual_host.and_then(|virtual_host| virtual_host.get("domains"));
    let domains = domains.map(|list| list.items()).unwrap_or_default();
    let mut names = domains.iter().filter_map(|name| name.value().as_str());
    Some(EnvoyRoute {
        part,
        host: names.find(|name| !name.contains('*')).map(str::to_owned),
        kind,
        path: path.to_owned(),
        target: part.get("route")?,
    })
}

pub(super) fn describe(route: &EdgeRoute) -> String {
    let kind = match route.kind {
        PathKind::Prefix => "the prefix",
        PathKind::Path => "the path",
    };
    match &route.host {
        Some(host) => format!("{kind} {} of the host {host}", route.path),
        None => format!("{kind} {}", route.path),
    }
}

fn review_place_route(route: &EnvoyRoute<'_, '_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let (part, target) = (route.part, &route.target);
    if target.text("cluster_header") != Some(CLUSTER_HEADER) {
        let message = format!("must be {CLUSTER_HEADER}: the filter selects the cluster");
        part.report_at("route.cluster_header", message, findings);
    }
    let removed = part.get("request_headers_to_remove");
    let removed = removed.map(|list| list.items()).unwrap_or_default();
    if !removed.iter().any(|name| name.value() == CLUSTER_HEADER) {
        let message = format!("must contain {CLUSTER_HEADER}, which is for Envoy only");
        part.report_at("request_headers_to_remove", message, findings);
    }
    for field in ["timeout", "idle_timeout"] {
        if target.text(field) != Some("0s") {
            let message = "must be 0s: Envoy would close WebSockets";
            part.report_at(&format!("route.{field}"), message, findings);
        }
    }
    let longest = target.at("max_stream_duration.max_stream_duration");
    let longest = longest.as_ref().and_then(|part| part.value().as_str());
    if longest != Some(model.max_stream_duration.as_str()) {
        let expected = &model.max_stream_duration;
        let message = format!("must be {expected}: session.absolute_timeout");
        part.report_at("route.max_stream_duration", message, findings);
    }
}

/// The listener disables WebSockets, so their routes must enable them.
fn review_upgrade(route: &EnvoyRoute<'_, '_>, findings: &mut Vec<Finding>) {
    let upgrades = route
        .target
        .get("upgrade_configs")
        .map(|list| list.items())
        .unwrap_or_default();
    let is_websocket = |part: &Part<'_>| part.text("upgrade_type") == Some("websocket");
    if !upgrades.iter().any(is_websocket) {
        let message = "must enable websocket";
        route
            .part
            .report_at("route.upgrade_configs", message, findings);
    }
}

/// The clusters of the filter's calls.
fn calls_clusters(parts: &Parts<'_>, model: &EdgeModel) -> Vec<String> {
    let clusters = parts.settings.iter().map(|settings| {
        let cluster = settings.at("service.cluster");
        let cluster = cluster.as_ref().and_then(|part| part.value().as_str());
        cluster.unwrap_or(&model.clusters.calls.name).to_owned()
    });
    let clusters: Vec<String> = clusters.collect();
    if clusters.is_empty() {
        return vec![model.clusters.calls.name.clone()];
    }
    clusters
}

/// A request that does not go to an engine needs a cluster of its own kind.
fn review_cluster(
    found: &EnvoyRoute<'_, '_>,
    route: &EdgeRoute,
    calls: &[String],
    findings: &mut Vec<Finding>,
) {
    if found.to_engine() {
        let message = format!("leads to an engine, but {} does not", describe(route));
        found
            .part
            .report_at("route.cluster_header", message, findings);
    }
    let cluster = found.target.text("cluster");
    if cluster.is_some_and(|name| calls.iter().any(|calls| calls == name)) {
        let message = "is the cluster of the filter's calls: clients could exhaust its connections";
        found.part.report_at("route.cluster", message, findings);
    }
}

fn review_buffer(route: &EnvoyRoute<'_, '_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let filters = route.part.get("typed_per_filter_config");
    let buffer = filters.and_then(|filters| filters.get_exact(BUFFER));
    let limit = buffer.and_then(|buffer| buffer.at("buffer.max_request_bytes"));
    let limit = limit.and_then(|limit| limit.value().as_u64());
    if limit != u64::try_from(model.max_body_bytes).ok() {
        let expected = model.max_body_bytes;
        let message = format!("must enable {BUFFER} with max_request_bytes: {expected}");
        route
            .part
            .report_at("typed_per_filter_config", message, findings);
    }
}

fn review_private_paths(route: &EnvoyRoute<'_, '_>, findings: &mut Vec<Finding>) {
    let reaches = |path: &&str| match route.kind {
        PathKind::Prefix => path.starts_with(&route.path) || route.path.starts_with(*path),
        PathKind::Path => route.path.starts_with(*path),
    };
    if let Some(path) = PRIVATE_PATHS.iter().find(|path| reaches(path)) {
        let message = format!("exposes {path} of the service to clients");
        route.part.report_at("match", message, findings);
    }
}
