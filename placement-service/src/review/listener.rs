//! Rules for the listener: requests of clients are normalized and limited, trusted headers are removed before any
//! filter, a closed WebSocket closes at once, and bodies are buffered behind the filter.

use super::Finding;
use super::parts::{Part, WASM};
use crate::render::model::EdgeModel;
use serde_json::{Value, json};

/// Fields of the connection manager with the value that they must have, and why.
const FIELDS: [(&str, &str, &str); 5] = [
    ("normalize_path", "true", "routes compare normalized paths"),
    ("merge_slashes", "true", "routes compare normalized paths"),
    (
        "path_with_escaped_slashes_action",
        "\"KEEP_UNCHANGED\"",
        "names of documents may contain %2F, and unescaped it could lead around a route; the filter refuses other ones",
    ),
    (
        "use_remote_address",
        "true",
        "clients could name their own address",
    ),
    (
        "delayed_close_timeout",
        "\"0s\"",
        "a revoked WebSocket would close a second later",
    ),
];
/// The cookies that a browser keeps for a site, and the other headers of a request.
const MIN_HEADERS: u64 = 250;
const REQUEST_TIMEOUT: &str = "request_timeout";
const TIME_LIMITS: [&str; 2] = ["request_headers_timeout", REQUEST_TIMEOUT];
pub(super) const BUFFER: &str = "envoy.filters.http.buffer";

pub(super) fn review(manager: &Part<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    for (field, expected, why) in FIELDS {
        let actual = manager.get(field).map(|part| part.value().to_string());
        if actual.as_deref() != Some(expected) {
            manager.report_at(field, format!("must be {expected}: {why}"), findings);
        }
    }
    for field in TIME_LIMITS {
        let limit = manager.get(field);
        if field == REQUEST_TIMEOUT && model.plain_http {
            if limit.is_some_and(|limit| limit.value().as_str() != Some("0s")) {
                let message = "must be 0s: it would end long uploads to engines";
                manager.report_at(field, message, findings);
            }
            continue;
        }
        let unlimited =
            limit.is_none_or(|limit| matches!(limit.value().as_str(), None | Some("0s")));
        if unlimited {
            manager.report_at(
                field,
                "is missing: slow requests would hold connections",
                findings,
            );
        }
    }
    let hops = manager.get("xff_num_trusted_hops");
    let hops = hops.map_or(Value::from(0), |hops| hops.value().clone());
    if hops != json!(model.listener.trusted_hops) {
        let hops = model.listener.trusted_hops;
        let message =
            format!("must be {hops}: the service's login.trusted_proxies without this one");
        manager.report_at("xff_num_trusted_hops", message, findings);
    }
    review_header_count(manager, findings);
    review_removed_headers(manager, model, findings);
    review_upgrades(manager, findings);
    if let Some(filters) = manager.get("http_filters") {
        review_filters(manager, &filters.items(), findings);
    }
}

/// Envoy's default is 100.
fn review_header_count(manager: &Part<'_>, findings: &mut Vec<Finding>) {
    let field = "common_http_protocol_options.max_headers_count";
    let count = manager.at(field).and_then(|count| count.value().as_u64());
    if count.is_none_or(|count| count < MIN_HEADERS) {
        let message = format!(
            "must be at least {MIN_HEADERS}: over HTTP/2 each cookie of a browser counts as a header"
        );
        manager.report_at(field, message, findings);
    }
}

/// WebSockets are enabled by their routes: elsewhere an upgrade could reach the service.
fn review_upgrades(manager: &Part<'_>, findings: &mut Vec<Finding>) {
    let upgrades = manager.get("upgrade_configs").map(|list| list.items());
    for upgrade in upgrades.unwrap_or_default() {
        let disabled = upgrade.get("enabled");
        if disabled.is_none_or(|part| part.value() != &Value::Bool(false)) {
            let message = "must be false: only the routes of WebSockets enable them";
            upgrade.report_at("enabled", message, findings);
        }
    }
}

/// Each trusted header must be removed by an early mutation, by its name or by a prefix.
fn review_removed_headers(manager: &Part<'_>, model: &EdgeModel, findings: &mut Vec<Finding>) {
    let field = "early_header_mutation_extensions";
    let extensions = manager.get(field).map(|list| list.items());
    let mutations: Vec<Part<'_>> = extensions
        .unwrap_or_default()
        .iter()
        .filter_map(|extension| extension.at("typed_config.mutations"))
        .flat_map(|mutations| mutations.items())
        .collect();
    let prefixes: Vec<String> = mutations
        .iter()
        .filter_map(|one| one.at("remove_on_match.key_matcher"))
        .filter_map(|matcher| matcher.text("prefix").map(str::to_owned))
        .collect();
    let names: Vec<&str> = mutations
        .iter()
        .filter_map(|one| one.text("remove"))
        .collect();
    let by_prefix = |name: &str| {
        prefixes
            .iter()
            .any(|prefix| name.starts_with(prefix.as_str()))
    };
    let listener = &model.listener;
    for prefix in &listener.removed_prefixes {
        if !by_prefix(prefix) {
            let message = format!("does not remove {prefix}*, which upstreams trust");
            manager.report_at(field, message, findings);
        }
    }
    for name in &listener.removed_headers {
        if !by_prefix(name) && !names.contains(&name.as_str()) {
            let message = format!("does not remove {name}, which upstreams trust");
            manager.report_at(field, message, findings);
        }
    }
}

/// The Berth filter must be in the chain. The buffer filter must follow it, as it rejects requests by their headers.
fn review_filters(manager: &Part<'_>, filters: &[Part<'_>], findings: &mut Vec<Finding>) {
    let berth = filters.iter().position(is_enabled_wasm);
    if berth.is_none() {
        let message = "has no enabled Berth filter: requests would be routed without a session";
        manager.report_at("http_filters", message, findings);
    }
    let buffer = filters
        .iter()
        .position(|filter| filter.text("name") == Some(BUFFER));
    match (berth, buffer) {
        (_, None) => {
            let message =
                format!("has no {BUFFER}: slow bodies would hold connections of the service");
            manager.report_at("http_filters", message, findings);
        }
        (Some(berth), Some(buffer)) if buffer < berth => {
            let message = format!(
                "{BUFFER} must follow berth, which rejects requests before their bodies are read"
            );
            manager.report_at("http_filters", message, findings);
        }
        _ => {}
    }
}

/// Whether Envoy runs a Wasm filter here, inline or by discovery. Names of filters are arbitrary.
fn is_enabled_wasm(filter: &Part<'_>) -> bool {
    let is_wasm = |kind: &str| kind.ends_with(WASM);
    let inline = filter.get("typed_config");
    let inline = inline.is_some_and(|config| config.text("@type").is_some_and(is_wasm));
    let discovered = filter.at("config_discovery.type_urls");
    let discovered = discovered.map(|urls| urls.items()).unwrap_or_default();
    let discovered = discovered
        .iter()
        .any(|url| url.value().as_str().is_some_and(is_wasm));
    let disabled = filter.get("disabled");
    let disabled = disabled.is_some_and(|part| part.value() == &Value::Bool(true));
    (inline || discovered) && !disabled
}
