//! Sources of engines, and the paths of their faults.

use crate::config::load::from_text;

fn faults(text: &str) -> String {
    from_text(text).unwrap_err().to_string()
}

fn with_discovery(discovery: &str) -> String {
    format!(
        "pools: [ {{ name: p, driver: qix, cluster: c, discovery: {discovery} }} ]\n\
         routes: [ {{ path: /a, pool: p }} ]\n"
    )
}

#[test]
fn discovery_is_one_source_or_a_list() {
    let sources = |discovery: &str| {
        let loaded = from_text(&with_discovery(discovery)).unwrap();
        let sources = &loaded.config.pools[0].discovery.0;
        sources.iter().map(|s| s.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(sources("{ dns: { host: e.test, port: 9076 } }"), ["dns"]);
    let all = "[ { mira: { url: \"http://mira:9100\" } }, { docker: { mode: swarm } }, { kubernetes: {} },
        { file: { path: /e.yaml } }, { dns: { srv: _q._tcp.test } }, { static: [] } ]";
    assert_eq!(
        sources(all),
        ["mira", "docker", "kubernetes", "file", "dns", "static"]
    );
}

#[test]
fn faults_of_sources_have_paths() {
    for (discovery, fault) in [
        ("[]", "pools[0].discovery: must name a source"),
        (
            "{ static: [], mira: { url: x } }",
            "pools[0].discovery: more than one source: write a list",
        ),
        (
            "{ dns: { host: e.test } }",
            "pools[0].discovery.dns.port: is missing",
        ),
        (
            "{ dns: { port: 1 } }",
            "pools[0].discovery.dns.host: is missing",
        ),
        (
            "{ dns: { host: a, srv: b, port: 1 } }",
            "pools[0].discovery.dns.srv: excludes host",
        ),
        (
            "{ dns: { srv: b, min_ttl: 1ms } }",
            "pools[0].discovery.dns.min_ttl: must be",
        ),
        (
            "[ { static: [] }, { dns: { srv: b, max_ttl: 1ms } } ]",
            "pools[0].discovery[1].dns.max_ttl: must be",
        ),
        (
            "{ kubernetes: { namespace: a, all_namespaces: true } }",
            "pools[0].discovery.kubernetes.namespace: excludes",
        ),
        (
            "{ kubernetes: { port: 0 } }",
            "pools[0].discovery.kubernetes.port: must be",
        ),
        (
            "{ kubernetes: { port: 70000 } }",
            "pools[0].discovery.kubernetes.port: invalid value: integer `70000`, expected the number or the name of a port",
        ),
        (
            "{ kubernetes: { metrics_port: '9090' } }",
            "pools[0].discovery.kubernetes.metrics_port: must be 1 to 65535, or the name of a port",
        ),
        (
            "{ kubernetes: { service: e, selector: app=e } }",
            "pools[0].discovery.kubernetes.service: excludes selector",
        ),
        (
            "{ kubernetes: { service: e, all_namespaces: true } }",
            "pools[0].discovery.kubernetes.service: excludes all_namespaces",
        ),
        (
            "{ kubernetes: { service: 'a,b' } }",
            "pools[0].discovery.kubernetes.service: must be the name of a Service",
        ),
        (
            "{ kubernetes: { servise: e } }",
            "pools[0].discovery.kubernetes.servise: unknown field",
        ),
        (
            "{ kubernetes: { selector: '' } }",
            "pools[0].discovery.kubernetes.selector: must be a label selector",
        ),
        (
            "{ docker: { host: \"ssh://x\" } }",
            "pools[0].discovery.docker.host: must be unix",
        ),
        (
            "{ mira: { url: \"mira:9100\" } }",
            "pools[0].discovery.mira.url: must be",
        ),
        (
            "{ mira: { url: \"http://m\", colour: blue } }",
            "pools[0].discovery.mira.colour: unknown field",
        ),
        ("{ consul: {} }", "unknown variant `consul`"),
        (
            "{ static: [ { name: a, ip: 0.0.0.0, port: 1 } ] }",
            "pools[0].discovery.static[0].ip: must be",
        ),
    ] {
        let message = faults(&with_discovery(discovery));
        assert!(message.contains(fault), "{discovery}: {message}");
    }
}
