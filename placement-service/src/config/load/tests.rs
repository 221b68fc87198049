//! Tests of loading and checking. Fault messages are an interface to operators, so they are compared as a
//! whole.

use super::*;
use crate::app::secrets;
use crate::config::{
    Algorithm, Driver, LogFormat, OpenTemplate, Role, SecretSource, Store, Strategy,
};
use proptest::prelude::*;
use std::time::Duration;

fn faults(text: &str) -> String {
    from_text(text)
        .map(|loaded| loaded.config)
        .unwrap_err()
        .to_string()
}

const POOL: &str = "
pools:
  - name: qix
    driver: qix
    cluster: engines
    discovery: { static: [ { name: engine-0, ip: 10.0.0.1, port: 9076 } ] }
";

#[test]
fn the_default_file_contains_every_default() {
    let config = from_text("").unwrap().config;
    assert_eq!(config.listen.to_string(), "127.0.0.1:9455");
    assert_eq!(
        (config.log.level.as_str(), config.log.format),
        ("info", LogFormat::Json)
    );
    assert!(matches!(&config.store, Store::Sqlite { path, .. } if path == Path::new("berth.db")));
    assert!(config.session.cookie.secure);
    assert_eq!(config.session.idle_timeout, Duration::from_secs(1800));
    assert_eq!(config.session.absolute_timeout, Duration::from_secs(36_000));
    assert_eq!(config.tokens.algorithm, Algorithm::Hs256);
    assert!(matches!(&config.tokens.key, SecretSource::Env(name) if name == "BERTH_TOKEN_KEY"));
    assert_eq!(config.tokens.lifetime, Duration::from_secs(300));
    assert!(config.gateways.secret.is_none());
    assert_eq!(config.placement.attempts, 3);
    assert_eq!(config.placement.engine_timeout, Duration::from_millis(800));
    assert!(config.pools.is_empty() && config.routes.is_empty());
    assert_eq!(config.shutdown_grace, Duration::from_secs(10));
}

#[test]
fn the_examples_in_the_default_file_are_valid() {
    let mut text = String::new();
    for line in DEFAULT.lines() {
        let example = line.starts_with("#   ") && !line.contains("  #  ");
        match line {
            "oidc: []"
            | "webhooks: []"
            | "security_events: null"
            | "pools: []"
            | "routes: []"
            | "api:"
            | "  clients: []" => {}
            _ if example => text.push_str(&line[1..]),
            _ if line.starts_with("# OpenID providers.") => text.push_str("oidc:"),
            _ if line.starts_with("# Webhooks") => text.push_str("webhooks:"),
            _ if line.starts_with("# Transmitters") => text.push_str("security_events:"),
            _ if line.starts_with("# Pools:") => text.push_str("pools:"),
            _ if line.starts_with("# Routes:") => text.push_str("routes:"),
            _ if line.starts_with("# Programs that may") => text.push_str("api:\n clients:"),
            _ => {}
        }
        text.push('\n');
    }
    // Format caep needs an asymmetric algorithm.
    text.push_str("tokens: { algorithm: ES256 }\n");
    let config = from_text(&text).unwrap().config;
    assert_eq!(config.webhooks.len(), 2);
    assert_eq!(config.security_events.unwrap().transmitters.len(), 1);
    assert_eq!(config.api.clients[0].role, Role::Operator);
    assert_eq!(config.pools[0].strategy, Strategy::LeastLoad);
    assert_eq!(config.pools[0].capacity.per_engine, Some(500));
    assert_eq!(config.oidc[0].title(), "Company account");
    assert_eq!(config.oidc[0].roles.map.len(), 2);
    let opened: Vec<_> = config.routes.iter().map(|r| r.open.clone()).collect();
    let document = |name: &str| OpenTemplate::Document(name.to_owned());
    assert_eq!(
        opened,
        [
            document("{document}"),
            document("/doc/{document}"),
            OpenTemplate::SessionApp
        ]
    );
}

#[test]
fn the_demo_file_is_valid_and_gives_warnings() {
    let loaded = from_text(include_str!("../../../config/demo.yaml")).unwrap();
    assert_eq!(loaded.config.pools[0].driver, Driver::Qix);
    assert_eq!(loaded.config.log.level, "info");
    assert_eq!(
        loaded.warnings,
        [
            "the demo secret is in use: it is public",
            "session.cookie.secure is false: use this only with http on a local machine"
        ]
    );
    assert!(secrets::fetch(&loaded.config, &|_| None).is_ok());
}

#[test]
fn every_section_and_every_item_of_a_list_reports_its_first_type_error() {
    let text = "
listen: nowhere
colour: blue
log: { level: 5 }
store: { kind: sqlite, path: a.db, mode: rw }
session: { idle_timeout: soon }
login: { lockout: { max: { days: 1 } } }
tokens: { algorithm: HS1 }
probe: { failures: -1 }
placement: { ledger: { kind: raft } }
pools:
  - name: a
    driver: qix
    cluster: c
    discovery: { static: [ { name: e, ip: 10.0.0.1, port: 1 }, { name: f, ip: x, port: 1 } ] }
  - { name: b, driver: qix, cluster: c, discovery: { static: [] } }
  - { driver: qix, cluster: c, discovery: { static: [] } }
  - { name: d, driver: qxi, cluster: c, discovery: { static: [] } }
  - { name: f, driver: qix, cluster: c, discovery: { static: [ { port: 99999 } ] } }
  - { name: g, driver: qix, cluster: c, discovery: { dns: example.com } }
routes:
  - { path: /app, pool: b, open: { file: x } }
  - { pool: a }
http: 5
oidc: { name: a }
";
    let expected = "\
http: invalid type: integer `5`, expected struct Http
listen: invalid socket address syntax
log.level: invalid type: integer `5`, expected a string
login.lockout.max: invalid type: map, expected a duration
oidc: invalid type: map, expected a sequence
placement.ledger.kind: unknown variant `raft`, expected `memory` or `redis`
pools[0].discovery.static[1].ip: invalid IP address syntax
pools[2].name: is missing
pools[3].driver: unknown variant `qxi`, expected `qix` or `websocket`
pools[4].discovery.static[0].port: invalid value: integer `99999`, expected u16
pools[5].discovery.dns: invalid type: string \"example.com\", expected struct DnsSource
probe.failures: invalid value: integer `-1`, expected u32
routes[0].open: unknown variant `file`, expected one of `nothing`, `document`, `session-app`
routes[1].path: is missing
session.idle_timeout: invalid value: string \"soon\", expected a duration
store.mode: unknown field; known here: path, timeout
tokens.algorithm: unknown variant `HS1`, expected one of `HS256`, `RS256`, `ES256`, `EdDSA`";
    let told = faults(text);
    let (first, rest) = told.split_once('\n').unwrap();
    let known = "colour: unknown field; known here: listen, log, store, session, ";
    assert!(first.starts_with(known), "{first}");
    assert_eq!(rest, expected);
}

#[test]
fn a_type_error_hides_no_fault_of_another_section() {
    let pools = "pools: [ { name: a, driver: qix, cluster: 'two words', strategy: weighted, discovery: { static: [ \
                 { name: e, ip: 10.0.0.1, port: 1 }, { name: e, ip: 10.0.0.2, port: 1 } ] } } ]\n";
    let text = format!(
        "log: {{ format: xml }}\nsession: {{ cookie: {{ domain: example.com }} }}\n{pools}\
         routes: [ {{ path: /app/, pool: a }}, {{ path: app, pool: b }} ]\n\
         tokens: {{ lifetime: 1s }}\nprobe: {{ successes: 0 }}\n"
    );
    assert_eq!(
        faults(&text),
        "log.format: unknown variant `xml`, expected `json` or `text`\n\
         pools[0].capacity.per_engine: is missing: strategy weighted needs it\n\
         pools[0].cluster: must be visible ASCII without spaces\n\
         pools[0].discovery.static[1].name: the name \"e\" is already used\n\
         probe.successes: must be 1 to 1000, not 0\n\
         routes[1].path: must start with / and may end in {document}, without a query\n\
         routes[1].pool: there is no pool \"b\"\n\
         session.cookie.domain: unknown field; known here: name, secure, same_site\n\
         tokens.lifetime: must be 10s to 1day, not 1s"
    );
}

/// The defaults stand in for a section with a type error; what contradicts only them is no fault.
#[test]
fn a_type_error_causes_no_fault_of_another_section() {
    for (text, expected) in [
        (
            "pools: [ { driver: qix } ]\nroutes: [ { path: a, pool: p } ]",
            "pools[0].name: is missing\n\
             routes[0].path: must start with / and may end in {document}, without a query",
        ),
        (
            "oidc: [ { name: 5 } ]\nlogin: { local: false }",
            "oidc[0].name: invalid type: integer `5`, expected a string",
        ),
        (
            "tokens: { algorithm: 5 }\n\
             webhooks: [ { name: a b, url: 'https://example.com/', format: caep, audience: engine } ]",
            "tokens.algorithm: invalid type: integer `5`, expected string or map\n\
             webhooks[0].name: must be 1 to 128 letters, digits and - _ .",
        ),
        (
            "placement: { attempts: x, deadline: 60s }\n\
             pools: [ { name: p, driver: qix, cluster: c, discovery: { static: [] }, \
             queue: { max_length: 5, timeout: 30s } } ]",
            "placement.attempts: invalid type: string \"x\", expected u32",
        ),
    ] {
        assert_eq!(faults(text), expected);
    }
}

#[test]
fn rules_beyond_types_are_checked() {
    for (text, expected) in [
        (
            "session: { idle_timeout: 2h, absolute_timeout: 1h }",
            "session.idle_timeout: must not be longer than session.absolute_timeout",
        ),
        (
            "session: { cookie: { secure: false, same_site: none } }",
            "session.cookie.same_site: none needs session.cookie.secure: true",
        ),
        (
            "login: { default_return_to: //evil }",
            "login.default_return_to: must be a path of this site, such as /",
        ),
        (
            "login: { trusted_origins: ['https://a.example', 'https://b.example/', '*'] }",
            "login.trusted_origins[1]: must be an origin such as https://app.example.com\n\
          login.trusted_origins[2]: must be an origin such as https://app.example.com",
        ),
        (
            "login: { local: false, public_url: 'https://app.example/x' }",
            "login.local: must be true while oidc has no provider: nobody could log in\n\
          login.public_url: must be an origin such as https://app.example.com",
        ),
        (
            "tokens: { issuer: '', kid: '' }",
            "tokens.issuer: must not be empty\n\
          tokens.kid: must not be empty; null names the key by its thumbprint",
        ),
        (
            "placement: { deadline: 1s, engine_timeout: 2s, attempts: 0 }",
            "placement.attempts: must be 1 to 100, not 0\n\
          placement.engine_timeout: must not be longer than placement.deadline",
        ),
        (
            "probe: { interval: 0s }",
            "probe.interval: must be 100ms to 1h, not 0s",
        ),
        (
            "log: { level: '=,=' }",
            "log.level: must be a filter such as info or berth_placement=debug,info",
        ),
        ("- a list", "expected a map of settings"),
    ] {
        assert_eq!(faults(text), expected);
    }
}

#[test]
fn pool_names_are_unique_and_routes_name_a_pool() {
    let two = format!("{POOL}{}", &POOL["\npools:\n".len()..]);
    assert_eq!(
        faults(&two),
        "pools[1].name: the name \"qix\" is already used"
    );
    for (route, expected) in [
        (
            "{ path: '/app/{document}', pool: qxi }",
            "routes[0].pool: there is no pool \"qxi\"",
        ),
        (
            "{ path: '/app{document}', pool: qix }",
            "routes[0].path: {document} must follow a /",
        ),
        (
            "{ path: '/{document}/x', pool: qix }",
            "routes[0].path: must start with / and may end in {document}, without a query",
        ),
        (
            "{ path: /app, pool: qix, open: { document: '{document}' } }",
            "routes[0].open: uses {document}, which the path does not have",
        ),
        (
            "{ path: /app, pool: qix, open: { document: '' } }",
            "routes[0].open: the document's name must not be empty",
        ),
    ] {
        assert_eq!(faults(&format!("{POOL}routes: [{route}]")), expected);
    }
    let generic = POOL.replace("driver: qix", "driver: websocket");
    let text = format!("{generic}routes: [{{ path: /a, pool: qix, open: session-app }}]");
    assert_eq!(
        faults(&text),
        "routes[0].open: a websocket pool opens nothing"
    );
}

#[test]
fn no_fault_contains_a_secret() {
    for text in [
        "tokens: { key: hunter2 }",
        "tokens: { key: { hunter2: x } }",
        "tokens: { key: { inline: { a: hunter2 } } }",
        "tokens: { key: { inline: 12345, file: hunter2 } }",
        "gateways: { secret: hunter2 }",
        "api: { clients: [ { name: a, role: operator, secret: hunter2 } ] }",
        "api: { clients: [ { name: a, role: operator, secret: { hunter2: x } } ] }",
        "tokens: { key: [hunter2] }",
        "tokens: { key: null }",
    ] {
        let told = faults(text);
        assert!(told.contains("expected {env: NAME}"), "{text}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn yaml_errors_name_their_line() {
    let told = faults("session:\n  idle_timeout: [1\n");
    assert!(told.contains("line "), "{told}");
    assert!(!faults("tokens: { key: { inline: hunter2 }\n").contains("hunter2"));
    let told = faults("log: {}\nlog: {}\n");
    assert!(told.contains("duplicate"), "{told}");
}

#[test]
fn secrets_are_read_from_their_configured_source() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, "from a file, and long enough for HS256\n").unwrap();
    let fetch = |text: &str, env: &dyn Fn(&str) -> Option<String>| {
        let config = from_text(text).unwrap().config;
        secrets::fetch(&config, env)
            .map(|s| s.gateway)
            .map_err(|f| f.to_string())
    };
    let env = |name: &str| (name == "BERTH_TOKEN_KEY").then(|| "e".repeat(32));
    assert_eq!(fetch("", &env), Ok(None));
    let text = format!("gateways: {{ secret: {{ file: {} }} }}", file.display());
    assert_eq!(
        fetch(&text, &|_| None).unwrap_err(),
        "tokens.key: the environment variable BERTH_TOKEN_KEY is not set\n\
         gateways.secret: must have 16 or more visible ASCII characters"
    );
    let text = format!("tokens: {{ key: {{ file: {} }} }}", file.display());
    assert!(fetch(&text, &|_| None).is_ok());
    assert_eq!(
        fetch("tokens: { key: { inline: short } }", &env).unwrap_err(),
        "tokens.key: an HS256 secret needs 32 bytes or more, this one has 5"
    );
    assert_eq!(
        fetch("tokens: { algorithm: RS256 }", &env).unwrap_err(),
        "tokens.key: not a PKCS#8 PEM private key for RS256"
    );
}

#[test]
fn a_missing_file_is_a_fault() {
    let told = from_file(Path::new("/nowhere/berth.yaml"))
        .unwrap_err()
        .to_string();
    assert!(told.starts_with("cannot read the file: "), "{told}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}|(listen|pools|tokens|store|routes): *[-\\[{a-z0-9:, }\\]\n]{0,40}") {
        let _ = from_text(&text);
    }
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
        let told = faults(&with_discovery(discovery));
        assert!(told.contains(fault), "{discovery}: {told}");
    }
}

#[test]
fn faults_of_a_metrics_mapping_have_paths() {
    let with = |driver: &str, metrics: &str| {
        let text = with_discovery("{ static: [] }").replace("driver: qix", driver);
        text.replace(
            "cluster: c",
            &format!("cluster: c, probe: {{ metrics: {metrics} }}"),
        )
    };
    let loaded = from_text(&with("driver: websocket", "{ cpu: app_cpu }")).unwrap();
    let probe = loaded.config.pools[0].probe.as_ref().unwrap();
    assert_eq!(probe.metrics.path, "/metrics");
    for (driver, metrics, fault) in [
        (
            "driver: qix",
            "{ cpu: c }",
            "probe.metrics: is for websocket pools",
        ),
        (
            "driver: websocket",
            "{}",
            "probe.metrics: must name sessions",
        ),
        (
            "driver: websocket",
            "{ cpu: \"a{b}\" }",
            "probe.metrics.cpu: must be the name",
        ),
        (
            "driver: websocket",
            "{ cpu: c, path: x }",
            "probe.metrics.path: must start",
        ),
        (
            "driver: websocket",
            "{ memory: { used: a } }",
            "probe.metrics.memory.free: is missing",
        ),
    ] {
        let told = faults(&with(driver, metrics));
        assert!(told.contains(fault), "{metrics}: {told}");
    }
}

#[test]
fn weights_are_shares_and_not_all_zero() {
    let pool = |name: &str, rest: &str| {
        format!(
            "- {{ name: {name}, driver: qix, cluster: e, discovery: {{ static: [] }}, {rest} }}\n"
        )
    };
    let text = format!(
        "pools:\n{}{}{}",
        pool("a", "weights: { cpu: 1.5, memory: -0.1, document: 2 }"),
        pool("b", "weights: { sessions: 0, memory: 0, cpu: 0 }"),
        pool("c", "strategy: packed"),
    );
    let told = from_text(&text).unwrap_err().to_string();
    for fault in [
        "pools[0].weights.cpu: must be 0 to 1",
        "pools[0].weights.document: must be 0 to 1",
        "pools[0].weights.memory: must be 0 to 1",
        "pools[1].weights: one of sessions, memory and cpu must be more than 0",
        "pools[2].capacity.per_engine: is missing: strategy packed needs it",
    ] {
        assert!(told.contains(fault), "{fault} is not in:\n{told}");
    }
}
