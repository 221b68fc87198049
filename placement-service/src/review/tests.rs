//! The rendered files have no finding, and each change of them in one place has exactly the finding of its rule.

use super::*;
use crate::config::load;
use crate::render::{Source, Target, render};
use std::io;
use std::path::Path;

const CONFIG: &str = include_str!("../../config/demo.yaml");

/// A configuration with everything that a rule may ask for.
const PRODUCTION: &str = r#"
session: { absolute_timeout: 8h }
login: { trusted_proxies: 2 }
gateways: { secret: { env: GATEWAY_SECRET } }
tokens: { key: { env: TOKEN_KEY }, issuer: site, audience: engines }
pools: [ { name: p, driver: websocket, cluster: engines, discovery: { static: [ { name: e, ip: 10.0.0.1, port: 80 } ] } } ]
routes: [ { path: "/ws/{document}", pool: p, bearer: allow } ]
edge:
  strip_headers: [x-user]
  applications:
    - { name: app, addresses: ["app:80"], routes: [ { prefix: /api/, action: authenticate, anonymous: allow } ] }
"#;

fn model(config: &str) -> EdgeModel {
    let config = load::from_text(config).unwrap().config;
    EdgeModel::new(&config, &no_file).unwrap()
}

fn no_file(_: &Path) -> io::Result<String> {
    Err(io::Error::other("no file is read"))
}

fn rendered(config: &str) -> Vec<EdgeFile> {
    let config = load::from_text(config).unwrap().config;
    let source = Source {
        name: "test.yaml",
        text: "",
    };
    let files = render(Target::Envoy, &config, source, &no_file).unwrap();
    let file = |file: crate::render::RenderedFile| EdgeFile {
        name: file.name.to_owned(),
        text: file.text,
    };
    files.into_iter().map(file).collect()
}

fn lines(config: &str, files: &[EdgeFile]) -> Vec<String> {
    let findings = review(files, &model(config));
    findings.iter().map(ToString::to_string).collect()
}

/// The findings after one replacement in one of the files.
fn findings(config: &str, old: &str, new: &str) -> Vec<String> {
    let mut files = rendered(config);
    let file = files.iter_mut().find(|file| file.text.contains(old));
    let file = file.unwrap_or_else(|| panic!("no file contains {old:?}"));
    file.text = file.text.replacen(old, new, 1);
    lines(config, &files)
}

const MANAGER: &str =
    "config.yaml: static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
const WASM: &str = "filter.yaml: resources[0].typed_config.config";
const SETTINGS: &str = "filter.yaml: resources[0].typed_config.config.configuration.value";

fn route(index: usize) -> String {
    format!("{MANAGER}.route_config.virtual_hosts[0].routes[{index}]")
}

#[test]
fn rendered_files_have_no_finding() {
    for config in ["", CONFIG, PRODUCTION] {
        assert_eq!(lines(config, &rendered(config)), [""; 0]);
        // The filter's file alone, and Envoy's alone.
        for file in rendered(config) {
            assert_eq!(lines(config, &[file]), [""; 0]);
        }
    }
}

#[test]
fn a_weaker_listener_is_a_finding() {
    for (old, new, field, message) in [
        (
            "normalize_path: true",
            "normalize_path: false",
            "normalize_path",
            "must be true: routes compare normalized paths",
        ),
        (
            "merge_slashes: true\n",
            "\n",
            "merge_slashes",
            "must be true: routes compare normalized paths",
        ),
        (
            "path_with_escaped_slashes_action: REJECT_REQUEST",
            "path_with_escaped_slashes_action: KEEP_UNCHANGED",
            "path_with_escaped_slashes_action",
            "must be \"REJECT_REQUEST\": %2F in a path could lead around a route",
        ),
        (
            "use_remote_address: true",
            "use_remote_address: false",
            "use_remote_address",
            "must be true: clients could name their own address",
        ),
        (
            "delayed_close_timeout: 0s\n",
            "\n",
            "delayed_close_timeout",
            "must be \"0s\": a revoked WebSocket would close a second later",
        ),
        (
            "request_timeout: 60s\n",
            "\n",
            "request_timeout",
            "is missing: slow requests would hold connections",
        ),
        (
            "- remove_on_match: { key_matcher: { prefix: x-berth- } }",
            "",
            "early_header_mutation_extensions",
            "does not remove x-berth-*, which upstreams trust",
        ),
        (
            "- remove: forwarded",
            "",
            "early_header_mutation_extensions",
            "does not remove forwarded, which upstreams trust",
        ),
    ] {
        let expected = format!("{MANAGER}.{field}: {message}");
        assert_eq!(findings(CONFIG, old, new), [expected], "{old}");
    }
    assert_eq!(
        findings(
            PRODUCTION,
            "xff_num_trusted_hops: 1",
            "xff_num_trusted_hops: 2"
        ),
        [format!(
            "{MANAGER}.xff_num_trusted_hops: must be 1: the service's login.trusted_proxies without this one"
        )]
    );
    assert_eq!(
        findings(PRODUCTION, "- remove: x-user", ""),
        [format!(
            "{MANAGER}.early_header_mutation_extensions: does not remove x-user, which upstreams trust"
        )]
    );
}

#[test]
fn a_missing_buffer_is_a_finding() {
    assert_eq!(
        findings(
            CONFIG,
            "- name: envoy.filters.http.buffer",
            "- name: another"
        ),
        [format!(
            "{MANAGER}.http_filters: has no envoy.filters.http.buffer: slow bodies would hold connections of the service"
        )]
    );
    // The routes after the first share its buffer by an alias.
    let one = "                          route: *service\n                          typed_per_filter_config: *whole_body\n";
    let bare = "                          route: *service\n";
    assert_eq!(
        findings(CONFIG, one, bare),
        [format!(
            "{}.typed_per_filter_config: must enable envoy.filters.http.buffer with max_request_bytes: 65536",
            route(4)
        )]
    );
}

#[test]
fn routes_of_envoy_are_compared() {
    let login = "match: { path: /login }";
    assert_eq!(
        findings(CONFIG, login, "match: { path: /log-in }"),
        [
            "config.yaml: there is no route for the path /login".to_owned(),
            format!("{}.match: no route of the configuration uses it", route(3)),
        ]
    );
    assert_eq!(
        findings(CONFIG, "cluster_header: x-berth-cluster", "cluster: app"),
        (0..3)
            .map(|index| format!(
                "{}.route.cluster_header: must be x-berth-cluster: the filter selects the cluster",
                route(index)
            ))
            .collect::<Vec<_>>()
    );
    let each = |field: &str, message: &str| -> Vec<String> {
        (0..3)
            .map(|index| format!("{}.route.{field}: {message}", route(index)))
            .collect()
    };
    assert_eq!(
        findings(CONFIG, "idle_timeout: 0s", "idle_timeout: 60s"),
        each("idle_timeout", "must be 0s: Envoy would close WebSockets")
    );
    assert_eq!(
        findings(
            CONFIG,
            "                            timeout: 0s",
            "                            timeout: 15s"
        ),
        each("timeout", "must be 0s: Envoy would close WebSockets")
    );
    assert_eq!(
        findings(
            CONFIG,
            "max_stream_duration: 36000s",
            "max_stream_duration: 60s"
        ),
        each(
            "max_stream_duration",
            "must be 36000s: session.absolute_timeout"
        )
    );
    // The other routes to the service are aliases of the first one.
    let shared = findings(
        CONFIG,
        "&service { cluster: pages",
        "&service { cluster: placement",
    );
    assert_eq!(
        shared[0],
        format!(
            "{}.route.cluster: is the cluster of the filter's calls: clients could exhaust its connections",
            route(10)
        )
    );
    assert!(
        shared.len() > 5
            && shared
                .iter()
                .all(|line| line.contains("the cluster of the filter's calls"))
    );
    assert_eq!(
        findings(
            CONFIG,
            "match: { path: /is-authenticated }",
            "match: { prefix: /is-authenticated }"
        ),
        [""; 0]
    );
    assert_eq!(
        findings(CONFIG, "match: { path: / }", "match: { prefix: / }"),
        [
            format!(
                "{}.match: exposes /v1/ of the service to clients",
                route(11)
            ),
            format!("{}.match: no route of the configuration uses it", route(12)),
        ]
    );
}

#[test]
fn websockets_are_enabled_by_their_routes_only() {
    assert_eq!(
        findings(CONFIG, "websocket, enabled: false", "websocket"),
        [format!(
            "{MANAGER}.upgrade_configs[0].enabled: must be false: only the routes of WebSockets enable them"
        )]
    );
    let missing = (0..3).map(|index| {
        format!(
            "{}.route.upgrade_configs: must enable websocket",
            route(index)
        )
    });
    assert_eq!(
        findings(
            CONFIG,
            "upgrade_configs: [{ upgrade_type: websocket, enabled: true }]",
            ""
        ),
        missing.collect::<Vec<_>>()
    );
}

#[test]
fn a_route_by_a_pattern_cannot_be_compared() {
    let pattern = "match: { safe_regex: { regex: /session/re.* } }";
    assert_eq!(
        findings(CONFIG, "match: { path: /session/renew }", pattern),
        [
            "config.yaml: there is no route for the path /session/renew".to_owned(),
            format!(
                "{}.match: is neither prefix nor path: it cannot be compared with the configuration",
                route(7)
            ),
        ]
    );
}

#[test]
fn a_catch_all_route_to_an_application_is_no_finding() {
    let site = "edge: { applications: [ { name: site, addresses: ['site:80'], routes: [ { prefix: /, action: bypass } ] } ] }";
    assert_eq!(lines(site, &rendered(site)), [""; 0]);
    assert_eq!(
        findings(
            site,
            "route: { cluster: site,",
            "route: { cluster: placement,"
        ),
        [format!(
            "{}.route.cluster: is the cluster of the filter's calls: clients could exhaust its connections",
            route(8)
        )]
    );
    assert_eq!(
        findings(
            site,
            "route: { cluster: site,",
            "route: { cluster_header: x-berth-cluster,"
        ),
        [format!(
            "{}.route.cluster_header: leads to an engine, but the prefix / does not",
            route(8)
        )]
    );
}

#[test]
fn routes_of_the_filter_are_compared() {
    for (config, old, new, path, message) in [
        (
            CONFIG,
            "- { path: /logout, action: bypass }",
            "",
            "routes",
            "there is no route for the path /logout",
        ),
        (
            CONFIG,
            "- { path: /logout, action: bypass }",
            "- { path: /logout, action: authenticate }",
            "routes[4].action",
            "is authenticate, but the path /logout has bypass",
        ),
        (
            CONFIG,
            "- { prefix: /api/, action: authenticate }",
            "- { prefix: /api/, action: bypass }",
            "routes[12].action",
            "is bypass, but the prefix /api/ has authenticate",
        ),
        (
            CONFIG,
            "- { path: /logout, action: bypass }",
            "- { path: /logout, action: bypass }\n              - { path: /admin, action: bypass }",
            "routes[5]",
            "no route of the configuration uses it",
        ),
        (
            PRODUCTION,
            "action: place, bearer: allow",
            "action: place",
            "routes[0].bearer",
            "must be allow for the prefix /ws/",
        ),
        (
            PRODUCTION,
            "authenticate, anonymous: allow",
            "authenticate, bearer: allow, anonymous: allow",
            "routes[9].bearer",
            "must be deny for the prefix /api/",
        ),
    ] {
        assert_eq!(
            findings(config, old, new),
            [format!("{SETTINGS}.{path}: {message}")],
            "{old}"
        );
    }
}

#[test]
fn settings_of_the_filter_are_compared() {
    for (config, old, new, path, message) in [
        (
            CONFIG,
            "cookie: berth",
            "cookie: other",
            "cookie",
            "is \"other\", but the service has \"berth\": session.cookie",
        ),
        (
            CONFIG,
            "timeout: 12s",
            "timeout: 5s",
            "service.timeout",
            "must be at least 12s: placement.deadline and 2s",
        ),
        (
            CONFIG,
            "issuer: berth",
            "issuer: x",
            "tokens.issuer",
            "is \"x\", but the service has \"berth\": tokens.issuer",
        ),
        (
            CONFIG,
            "audience: engine",
            "audience: x",
            "tokens.audience",
            "is \"x\", but the service has \"engine\": tokens.audience",
        ),
        (
            PRODUCTION,
            "secret_env: GATEWAY_SECRET",
            "secret_env: X",
            "service.secret_env",
            "must be GATEWAY_SECRET: gateways.secret",
        ),
        (
            PRODUCTION,
            "strip_headers: [x-user]",
            "strip_headers: []",
            "strip_headers",
            "does not contain x-user, one of edge.strip_headers",
        ),
    ] {
        assert_eq!(
            findings(config, old, new),
            [format!("{SETTINGS}.{path}: {message}")],
            "{old}"
        );
    }
    assert_eq!(
        findings(
            PRODUCTION,
            "secret_env: GATEWAY_SECRET",
            "secret: a-secret-in-clear-text"
        ),
        [
            format!("{SETTINGS}.service.secret: is a secret in clear text: use secret_env"),
            format!("{SETTINGS}.service.secret_env: must be GATEWAY_SECRET: gateways.secret"),
        ]
    );
    assert_eq!(
        findings(PRODUCTION, "secret_env: TOKEN_KEY", "secret_env: OTHER"),
        [
            format!("{SETTINGS}.tokens.keys: has no key with secret_env: TOKEN_KEY"),
            format!(
                "{SETTINGS}.tokens.keys[0].secret_env: is OTHER, no key of the service: tokens, edge.token_keys"
            ),
        ]
    );
    let secret = findings(
        PRODUCTION,
        "secret_env: TOKEN_KEY",
        "secret: another-secret-of-somebody",
    );
    assert_eq!(
        secret[1],
        format!("{SETTINGS}.tokens.keys[0].secret: is a secret in clear text: use secret_env")
    );
    assert!(!secret.concat().contains("another-secret"));
}

#[test]
fn a_filter_that_could_fail_open_or_do_more_is_a_finding() {
    let list = "vm_config.capability_restriction_config.allowed_capabilities";
    for (old, new, path, message) in [
        (
            "failure_policy: FAIL_RELOAD",
            "failure_policy: FAIL_OPEN",
            "failure_policy",
            "must be FAIL_RELOAD: otherwise a trap fails open, or every later request",
        ),
        (
            "failure_policy: FAIL_RELOAD",
            "failure_policy: FAIL_RELOAD\n        fail_open: true",
            "fail_open",
            "forwards spoofed headers after a trap",
        ),
        (
            "proxy_on_tick: {}",
            "",
            list,
            "has no proxy_on_tick, which the filter needs",
        ),
        (
            "proxy_on_tick: {}",
            "proxy_on_tick: {}\n              proxy_on_log: {}",
            list,
            "has proxy_on_log, which the filter does not need",
        ),
        (
            "capability_restriction_config:",
            "other_config:",
            "capability_restriction_config",
            "is missing: the filter could call every function of Envoy",
        ),
    ] {
        assert_eq!(
            findings(CONFIG, old, new),
            [format!("{WASM}.{path}: {message}")],
            "{old}"
        );
    }
    assert_eq!(
        findings(
            PRODUCTION,
            "host_env_keys: [GATEWAY_SECRET, TOKEN_KEY]",
            "host_env_keys: [GATEWAY_SECRET]"
        ),
        [format!(
            "{WASM}.vm_config.environment_variables.host_env_keys: does not contain TOKEN_KEY"
        )]
    );
}

#[test]
fn the_process_is_reviewed() {
    assert_eq!(
        findings(CONFIG, "kill_timeout: 30s", "# no kill_timeout"),
        [
            "config.yaml: watchdogs.worker_watchdog: has no kill_timeout: a worker that hangs in the filter would stay forever"
        ]
    );
    assert_eq!(
        findings(
            CONFIG,
            "address: 127.0.0.1, port_value: 9901",
            "address: 0.0.0.0, port_value: 9901"
        ),
        [
            "config.yaml: admin.address.socket_address.address: must be a loopback address: clients of the admin interface can stop Envoy"
        ]
    );
}

#[test]
fn an_inline_filter_is_a_finding() {
    let minimal = EdgeFile {
        name: "minimal.yaml".to_owned(),
        text: include_str!("../../../envoy/minimal.yaml").to_owned(),
    };
    let found = lines(CONFIG, &[minimal]);
    let filter = "minimal.yaml: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config";
    let inline =
        format!("{filter}: is inline: a change of it closes every WebSocket; use config_discovery");
    assert!(found.contains(&inline), "{found:#?}");
    let routes = "minimal.yaml: there is no route for the path /logout".to_owned();
    assert!(found.contains(&routes), "{found:#?}");
}

#[test]
fn parts_of_istio_are_found() {
    let files = rendered(PRODUCTION);
    let resource: serde_json::Value = serde_saphyr::from_str(&files[1].text).unwrap();
    let patch = |apply_to: &str, value: serde_json::Value| serde_json::json!({"applyTo": apply_to, "patch": {"operation": "ADD", "value": value}});
    let filter = serde_json::json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "spec": {"configPatches": [
            patch("EXTENSION_CONFIG", resource["resources"][0].clone()),
            patch("BOOTSTRAP", serde_json::json!({"watchdogs": {"workerWatchdog": {}}})),
        ]},
    });
    let text = format!("kind: Namespace\n---\n{filter}\n").replace("TOKEN_KEY", "OTHER");
    let found = lines(
        PRODUCTION,
        &[EdgeFile {
            name: "istio.yaml".to_owned(),
            text,
        }],
    );
    let value = "istio.yaml: [1].spec.configPatches[0].patch.value.typed_config.config";
    assert_eq!(
        found,
        [
            format!("{value}.configuration.value.tokens.keys: has no key with secret_env: TOKEN_KEY"),
            format!("{value}.configuration.value.tokens.keys[0].secret_env: is OTHER, no key of the service: tokens, edge.token_keys"),
            format!("{value}.vm_config.environment_variables.host_env_keys: does not contain TOKEN_KEY"),
            "istio.yaml: [1].spec.configPatches[1].patch.value.watchdogs.worker_watchdog: has no kill_timeout: a worker that hangs in the filter would stay forever".to_owned(),
        ]
    );
}

#[test]
fn a_file_that_is_no_yaml_is_a_finding() {
    let file = EdgeFile {
        name: "x.yaml".to_owned(),
        text: "a: [".to_owned(),
    };
    assert_eq!(lines(CONFIG, &[file]), ["x.yaml: is no valid YAML"]);
}
