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
            OpenTemplate::SessionApp,
            OpenTemplate::Nothing
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
login.lockout.max: invalid type: map, expected a duration with its unit, such as 500ms, 20s or 10m
oidc: invalid type: map, expected a sequence
placement.ledger.kind: unknown variant `raft`, expected `memory` or `redis`
pools[0].discovery.static[1].ip: invalid IP address syntax
pools[2].name: is missing
pools[3].driver: unknown variant `qxi`, expected `qix` or `websocket`; did you mean qix?
pools[4].discovery.static[0].port: invalid value: integer `99999`, expected u16
pools[5].discovery.dns: invalid type: string \"example.com\", expected struct DnsSource
probe.failures: invalid value: integer `-1`, expected u32
routes[0].open: unknown variant `file`, expected one of `nothing`, `document`, `session-app`
routes[1].path: is missing
session.idle_timeout: invalid value: string \"soon\", expected a duration with its unit, such as 500ms, 20s or 10m
store.mode: unknown field; known here: path, timeout
tokens.algorithm: unknown variant `HS1`, expected one of `HS256`, `RS256`, `ES256`, `EdDSA`";
    let message = faults(text);
    let (first, rest) = message.split_once('\n').unwrap();
    let known = "colour: unknown field; known here: listen, tls, log, store, session, ";
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
         routes[1].path: must be a path such as /app/{document} or /rooms/{room}/{rest}, without a query\n\
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
             routes[0].path: must be a path such as /app/{document} or /rooms/{room}/{rest}, without a query",
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
        "store: { kind: postgres, url: 'postgres://u:hunter2@h/' }",
        "store: { kind: redis, url: { hunter2: x } }",
        "placement: { ledger: { kind: redis, url: 'redis://:hunter2@h/' } }",
        "oidc: [ { name: a, issuer: 'https://a.example', client_id: b, client_secret: hunter2, roles: { default: [user] } } ]",
        "webhooks: [ { name: a, url: 'https://a.example/', secret: hunter2 } ]",
    ] {
        let message = faults(text);
        assert!(
            message.contains("expected {env: NAME}"),
            "{text}: {message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn yaml_errors_name_their_line() {
    let message = faults("session:\n  idle_timeout: [1\n");
    assert!(message.contains("line "), "{message}");
    assert!(!faults("tokens: { key: { inline: hunter2 }\n").contains("hunter2"));
    let message = faults("log: {}\nlog: {}\n");
    assert!(message.contains("duplicate"), "{message}");
}

#[test]
fn a_missing_file_is_a_fault() {
    let message = from_file(Path::new("/nowhere/berth.yaml"))
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("cannot read the file: "), "{message}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}|(listen|pools|tokens|store|routes): *[-\\[{a-z0-9:, }\\]\n]{0,40}") {
        let _ = from_text(&text);
    }
}
