//! The rules for the filter: its settings, and how Envoy loads it.

use super::*;

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
            "strip_headers: [x-user, x-team]",
            "strip_headers: [x-team]",
            "strip_headers",
            "does not contain x-user, one of edge.strip_headers and routes[].headers",
        ),
        (
            PRODUCTION,
            "strip_headers: [x-user, x-team]",
            "strip_headers: [x-user]",
            "strip_headers",
            "does not contain x-team, one of edge.strip_headers and routes[].headers",
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
        findings(
            CONFIG,
            "authority: berth-placement",
            "authority: berth-placement\n              secret_env: X"
        ),
        [format!(
            "{SETTINGS}.service.secret_env: must be absent: the service has no gateways.secret"
        )]
    );
    assert_eq!(
        findings(CONFIG, "login_path: /login", "login_path: /sign-in"),
        [format!(
            "{SETTINGS}.login_path: is \"/sign-in\", but the service has \"/login\": the path of the login"
        )]
    );
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
            "proxy_on_tick: {}\n              proxy_on_queue_ready: {}",
            list,
            "has proxy_on_queue_ready, which the filter does not need",
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
fn a_filter_without_its_configuration_is_a_finding() {
    assert_eq!(
        findings(CONFIG, "v3.Wasm\n      config:", "v3.Wasm\n      other:"),
        ["filter.yaml: resources[0].typed_config.config: is missing"]
    );
}

/// The rendered filter in the place of its discovery.
#[test]
fn an_inline_filter_is_a_finding() {
    let files = rendered(CONFIG);
    let parse = |file: &EdgeFile| serde_saphyr::from_str::<serde_json::Value>(&file.text).unwrap();
    let (mut envoy, filter) = (parse(&files[0]), parse(&files[1]));
    let place =
        "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0";
    let inline = &filter["resources"][0]["typed_config"];
    *envoy.pointer_mut(place).unwrap() =
        serde_json::json!({"name": "berth", "typed_config": inline});
    let file = EdgeFile {
        name: "config.yaml".to_owned(),
        text: envoy.to_string(),
    };
    assert_eq!(
        lines(CONFIG, &[file]),
        [format!(
            "{MANAGER}.http_filters[0].typed_config: is inline: a change of it closes every WebSocket; use config_discovery"
        )]
    );
}
