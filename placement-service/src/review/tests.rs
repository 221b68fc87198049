//! The rendered files have no finding, and each change of them in one place has exactly the finding of its rule.

mod clusters;
mod filter;
mod listener;
mod routes;
mod tokens;

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
routes: [ { path: "/ws/{document}", pool: p, bearer: allow, headers: { x-team: "{claims.team}" } } ]
edge:
  strip_headers: [x-user]
  applications:
    - { name: app, addresses: ["app:80"], routes: [ { prefix: /api/, action: authenticate, anonymous: allow } ] }
"#;

/// Plain requests, and a host of its own.
const PLAIN: &str = r#"
pools: [ { name: p, driver: websocket, cluster: engines, discovery: { static: [ { name: e, ip: 10.0.0.1, port: 80 } ] } } ]
routes:
  - { path: "/jup/{rest}", pool: p, http: allow, activity: unsafe, affinity: { key: account }, rewrite: "/{rest}" }
  - { path: "/nb/{rest}", host: lab.example.com, pool: p, http: allow, affinity: { key: account } }
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
    for config in ["", CONFIG, PRODUCTION, PLAIN] {
        assert_eq!(lines(config, &rendered(config)), [""; 0]);
        // The filter's file alone, and Envoy's alone.
        for file in rendered(config) {
            assert_eq!(lines(config, &[file]), [""; 0]);
        }
    }
}

#[test]
fn the_process_is_reviewed() {
    for (old, new) in [
        ("kill_timeout: 30s", "# no kill_timeout"),
        ("worker_watchdog:", "main_thread_watchdog:"),
        ("watchdogs:", "unknown:"),
    ] {
        assert_eq!(
            findings(CONFIG, old, new),
            [
                "config.yaml: watchdogs.worker_watchdog: has no kill_timeout: a worker that hangs in the filter would stay forever"
            ]
        );
    }
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
