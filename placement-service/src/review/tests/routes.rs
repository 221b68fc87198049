//! The rules for Envoy's routes and the filter's.

use super::*;

#[test]
fn routes_of_envoy_are_compared() {
    let login = "match: { path: /login }";
    assert_eq!(
        findings(CONFIG, login, "match: { path: /log-in }"),
        [
            "config.yaml: there is no route for the path /login".to_owned(),
            format!("{}.match: no route of the configuration uses it", route(4)),
        ]
    );
    assert_eq!(
        findings(CONFIG, "cluster_header: x-berth-cluster", "cluster: app"),
        (0..4)
            .map(|index| format!(
                "{}.route.cluster_header: must be x-berth-cluster: the filter selects the cluster",
                route(index)
            ))
            .collect::<Vec<_>>()
    );
    let each = |field: &str, message: &str| -> Vec<String> {
        (0..4)
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
    assert_eq!(
        findings(CONFIG, "[x-berth-cluster]", "[x-other]"),
        [format!(
            "{}.request_headers_to_remove: must contain x-berth-cluster, which is for Envoy only",
            route(0)
        )]
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
                route(14)
            ),
            format!("{}.match: no route of the configuration uses it", route(15)),
        ]
    );
}

#[test]
fn the_private_paths_of_the_service_are_found() {
    let home = "match: { path: / }";
    for private in ["/v1/", "/health/", "/metrics", "/openapi.json"] {
        let route = format!(
            "{home}\n                          route: *service\n                        - match: {{ path: {private} }}"
        );
        let found = findings(CONFIG, home, &route);
        let message = format!("exposes {private} of the service to clients");
        assert!(
            found.iter().any(|line| line.contains(&message)),
            "{found:#?}"
        );
    }
}

#[test]
fn websockets_are_enabled_by_their_routes_only() {
    assert_eq!(
        findings(CONFIG, "websocket, enabled: false", "websocket"),
        [format!(
            "{MANAGER}.upgrade_configs[0].enabled: must be false: only the routes of WebSockets enable them"
        )]
    );
    let missing = (0..4).map(|index| {
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
fn requests_that_the_filter_has_placed_have_a_route() {
    let found = findings(
        CONFIG,
        "name: x-berth-cluster, present_match",
        "name: x-other, present_match",
    );
    let missing = "config.yaml: there is no route for requests with x-berth-cluster: their path is the engine's";
    assert!(found.iter().any(|finding| finding == missing), "{found:?}");
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
                route(10)
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
            route(10)
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
            route(10)
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
            "routes[6].action",
            "is authenticate, but the path /logout has bypass",
        ),
        (
            CONFIG,
            "- { prefix: /api/, action: authenticate }",
            "- { prefix: /api/, action: bypass }",
            "routes[14].action",
            "is bypass, but the prefix /api/ has authenticate",
        ),
        (
            CONFIG,
            "- { path: /logout, action: bypass }",
            "- { path: /logout, action: bypass }\n              - { path: /admin, action: bypass }",
            "routes[7]",
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
            "routes[11].bearer",
            "must be deny for the prefix /api/",
        ),
        (
            CONFIG,
            "- { prefix: /api/, action: authenticate }",
            "- { prefix: /api/, action: authenticate, roles: [admin] }",
            "routes[14].roles",
            "must be [] for the prefix /api/",
        ),
        (
            PRODUCTION,
            "authenticate, anonymous: allow",
            "authenticate, anonymous: allow, on_login_timeout: refuse",
            "routes[11].on_login_timeout",
            "is refuse, but the prefix /api/ has anonymous",
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
fn plain_requests_and_hosts_are_compared() {
    let routes = format!("{SETTINGS}.routes");
    for (old, new, finding) in [
        (
            "action: place, http: allow, activity: unsafe",
            "action: place, activity: unsafe",
            ".http: must be allow for the prefix /jup/",
        ),
        (
            "http: allow, activity: unsafe",
            "http: allow",
            ".activity: must be unsafe for the prefix /jup/",
        ),
    ] {
        let found = findings(PLAIN, old, new);
        assert!(found.len() == 1 && found[0].ends_with(finding), "{found:?}");
        assert!(found[0].starts_with(&routes), "{found:?}");
    }
    let timeout = findings(PLAIN, "request_timeout: 0s", "request_timeout: 60s");
    let message = "must be 0s: it would end long uploads to engines";
    assert_eq!(timeout, [format!("{MANAGER}.request_timeout: {message}")]);
    let host = findings(
        PLAIN,
        "domains: [lab.example.com, \"lab.example.com:*\"]",
        "domains: [other.example.com]",
    );
    assert!(!host.is_empty());
    let callback = findings(PLAIN, "proxy_on_response_headers: {}", "");
    assert!(
        callback[0].ends_with("has no proxy_on_response_headers, which the filter needs"),
        "{callback:?}"
    );
}
