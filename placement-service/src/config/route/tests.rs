//! Every fault of a route names its field.

use crate::config::load::from_text;
use crate::config::{Activity, AffinityCount, AffinityKey, AffinityMode, Permission};
use std::time::Duration;

fn faults(text: &str) -> String {
    from_text(text).unwrap_err().to_string()
}

const POOL: &str = "
pools:
  - name: qix
    driver: qix
    cluster: engines
    discovery: { static: [ { name: engine-0, ip: 10.0.0.1, port: 9076 } ] }
";

fn websocket_pool() -> String {
    POOL.replace("driver: qix", "driver: websocket")
}

#[test]
fn a_route_names_a_pool_that_can_open_its_target() {
    for (route, expected) in [
        (
            "{ path: '/app/{document}', pool: qxi }",
            "routes[0].pool: there is no pool \"qxi\"",
        ),
        (
            "{ path: '/app{document}', pool: qix }",
            "routes[0].path: \"app{document}\" is no whole segment such as {room}: a capture stands between two slashes",
        ),
        (
            "{ path: '/{document}/x', pool: qix }",
            "routes[0].path: {document} must be the last segment: it stands for the rest of the path",
        ),
        (
            "{ path: /app, pool: qix, open: { document: '{document}' } }",
            "routes[0].open: uses {document}, which the path does not have",
        ),
        (
            "{ path: '/app/{rest}', pool: qix, open: { document: '{document}' } }",
            "routes[0].open: uses {document}, which the path does not have",
        ),
        (
            "{ path: /app, pool: qix, open: { document: '' } }",
            "routes[0].open: the document's name must not be empty",
        ),
        (
            "{ path: '/app/{document}', pool: qix, rewrite: '/{document}' }",
            "routes[0].rewrite: a qix pool sets the path of its requests itself",
        ),
    ] {
        assert_eq!(faults(&format!("{POOL}routes: [{route}]")), expected);
    }
    let text = format!(
        "{}routes: [{{ path: /a, pool: qix, open: session-app }}]",
        websocket_pool()
    );
    assert_eq!(
        faults(&text),
        "routes[0].open: a websocket pool opens nothing"
    );
}

#[test]
fn a_route_with_affinity_is_read() {
    let text = format!(
        "{}routes:
  - path: '/jup/{{rest}}'
    host: lab.example.com
    pool: qix
    http: allow
    activity: unsafe
    affinity: {{ key: account, idle: 20m, replace_after: 1m, per_account: 20 }}
    rewrite: '/{{rest}}'
    headers: {{ x-forwarded-user: '{{account}}', x-auth-email: '{{claims.email}}', x-key: '{{key}}' }}
  - {{ path: '/ws/{{team}}/{{room}}', pool: qix, affinity: {{ key: '{{team}}/{{room}}', mode: preferred, weight: 0.5 }} }}
  - {{ path: /plain, pool: qix }}
",
        websocket_pool()
    );
    let config = from_text(&text).unwrap().config;
    let [jupyter, room, plain] = config.routes.as_slice() else {
        panic!("three routes");
    };
    assert_eq!(
        (jupyter.http, jupyter.activity),
        (Permission::Allow, Activity::Unsafe)
    );
    assert_eq!(jupyter.affinity.key, AffinityKey::Account);
    assert_eq!(jupyter.affinity.mode, AffinityMode::Sticky);
    assert_eq!(jupyter.affinity.effective_counts(), AffinityCount::Key);
    assert_eq!(jupyter.affinity.per_account, Some(20));
    assert_eq!(
        room.affinity.key,
        AffinityKey::Template("{team}/{room}".to_owned())
    );
    assert_eq!(room.affinity.effective_counts(), AffinityCount::Streams);
    assert_eq!(room.affinity.weight, Some(0.5));
    assert_eq!(plain.affinity.key, AffinityKey::Stream);
    assert!(!plain.affinity.keeps_keys());
    assert_eq!(
        (plain.http, plain.activity),
        (Permission::Deny, Activity::All)
    );
    assert_eq!(plain.affinity.idle, Duration::from_secs(600));
    assert_eq!(plain.affinity.replace_after, Duration::from_secs(30));
}

#[test]
fn faults_of_affinity_name_their_fields() {
    for (route, expected) in [
        ("affinity: { key: '' }", "affinity.key: must not be empty"),
        (
            "affinity: { key: acount }",
            "affinity.key: must be stream, tab, session, account, or captures of the path such as {room}",
        ),
        (
            "affinity: { key: '{team}' }",
            "affinity.key: uses {team}, which the path does not have",
        ),
        (
            "affinity: { key: '{room' }",
            "affinity.key: has a brace that belongs to no placeholder such as {name}",
        ),
        (
            "affinity: { key: account, idle: 0s }",
            "affinity.idle: must be 1s to 30days, not 0s",
        ),
        (
            "affinity: { key: account, idle: 35s }",
            "affinity.idle: must be longer than 35s: edge.cache.ttl and a report",
        ),
        (
            "affinity: { key: account, replace_after: 2d }",
            "affinity.replace_after: must be 0s to 1day, not 2days",
        ),
        (
            "affinity: { key: account, per_account: 0 }",
            "affinity.per_account: must be 1 to 1000000, not 0",
        ),
        (
            "affinity: { streams: 5 }",
            "affinity.streams: has no effect: affinity.key is stream",
        ),
        (
            "affinity: { key: account, weight: 0.5 }",
            "affinity.weight: has no effect: affinity.mode is sticky",
        ),
        (
            "affinity: { key: account, mode: preferred, weight: 1.5 }",
            "affinity.weight: must be 0 to 1",
        ),
        (
            "affinity: { key: account, mode: strict }",
            "affinity.mode: unknown variant `strict`, expected `sticky` or `preferred`",
        ),
        (
            "affinity: { key: account, per: 5 }",
            "affinity.per: unknown field; known here: key, mode, weight, idle, replace_after, counts, per_account, streams",
        ),
        (
            "http: allow",
            "affinity.key: must be session, account or captures of the path: http is allow",
        ),
        (
            "http: allow, affinity: { key: tab }",
            "affinity.key: only WebSockets have a tab, and http is allow",
        ),
        (
            "http: allow, affinity: { key: account, mode: preferred }",
            "affinity.mode: must be sticky: http is allow, and plain requests need one engine",
        ),
    ] {
        let pool = websocket_pool();
        let text = format!("{pool}routes: [{{ path: '/rooms/{{room}}', pool: qix, {route} }}]");
        assert_eq!(faults(&text), format!("routes[0].{expected}"));
    }
    let store = "store: { kind: redis-jwt, url: { inline: 'redis://127.0.0.1' }, keys: [ { algorithm: HS256, key: { env: KEY } } ] }";
    let text = format!(
        "{store}\n{}routes: [{{ path: /a, pool: qix, affinity: {{ key: account }} }}]",
        websocket_pool()
    );
    let expected =
        "routes[0].affinity.key: must be stream: a store of kind redis-jwt keeps no keys";
    assert!(
        faults(&text).lines().any(|line| line == expected),
        "{}",
        faults(&text)
    );
}

#[test]
fn faults_of_hosts_rewrites_and_headers_name_their_fields() {
    for (route, expected) in [
        (
            "host: '{team}.example.com'",
            "host: must be one host: the login cookie of a host reaches no other one",
        ),
        (
            "host: '*.example.com'",
            "host: must be one host: the login cookie of a host reaches no other one",
        ),
        (
            "host: 'lab.example.com:8080'",
            "host: must be a host in lower case, without port, such as lab.example.com",
        ),
        (
            "host: Lab",
            "host: must be a host in lower case, without port, such as lab.example.com",
        ),
        ("rewrite: '{rest}'", "rewrite: must start with /"),
        (
            "rewrite: /x",
            "rewrite: must end in {rest}, as the path does",
        ),
        (
            "rewrite: '/x/{user}/{rest}'",
            "rewrite: uses {user}, which the path does not have",
        ),
        (
            "rewrite: '/x?{rest}'",
            "rewrite: must be a path such as /app/{document} or /rooms/{room}/{rest}, without a query",
        ),
        (
            "rewrite: '/x-{room}/{rest}'",
            "rewrite: \"x-{room}\" is no whole segment such as {room}: a capture stands between two slashes",
        ),
        (
            "headers: { X-User: a }",
            "headers.X-User: must be the name of a header in lower case",
        ),
        (
            "headers: { x-user: '{user}' }",
            "headers.x-user: uses {user}; known are {account}, {roles}, {key} and {claims.NAME}",
        ),
        (
            "headers: { x-user: '' }",
            "headers.x-user: must be visible ASCII with {account}, {roles}, {key} or {claims.NAME}",
        ),
        (
            "headers: { x-key: '{key}' }",
            "headers.x-key: uses {key}, and affinity.key is stream",
        ),
    ] {
        let pool = websocket_pool();
        let text =
            format!("{pool}routes: [{{ path: '/r/{{room}}/{{rest}}', pool: qix, {route} }}]");
        assert_eq!(faults(&text), format!("routes[0].{expected}"));
    }
    for name in [
        "host",
        "connection",
        "transfer-encoding",
        "proxy-authorization",
        "authorization",
        "cookie",
        "content-length",
        "sec-websocket-key",
        "x-berth-destination",
        "x-envoy-original-dst-host",
        "x-qlik-session",
        "x-forwarded-for",
    ] {
        let pool = websocket_pool();
        let text = format!("{pool}routes: [{{ path: /a, pool: qix, headers: {{ {name}: a }} }}]");
        let expected =
            format!("routes[0].headers.{name}: is reserved: a request needs it, or Berth sets it");
        assert_eq!(faults(&text), expected);
    }
}

#[test]
fn routes_that_take_requests_of_others_are_faults() {
    let check = |routes: &str| {
        let text = format!("{}routes: [{routes}]", websocket_pool());
        let loaded = from_text(&text);
        loaded.err().map(|faults| faults.to_string())
    };
    let keeps = "pool: qix, http: allow, affinity: { key: account }";
    assert_eq!(
        check("{ path: '/a/{x}', pool: qix }, { path: '/a/{y}', pool: qix }").unwrap(),
        "routes[1].path: matches the same paths as routes[0]"
    );
    assert_eq!(
        check(&format!(
            "{{ path: '/jup/{{rest}}', {keeps} }}, {{ path: '/jup/admin', pool: qix }}"
        ))
        .unwrap(),
        "routes[0].path: the scope of a key of \"/jup/{rest}\" may contain paths of routes[1], \"/jup/admin\": choose paths that do not overlap"
    );
    assert_eq!(
        check(&format!(
            "{{ path: '/jup/{{rest}}', {keeps} }}, {{ path: '/{{rest}}', {keeps} }}"
        ))
        .unwrap(),
        "routes[1].path: the scope of a key of \"/{rest}\" may contain paths of routes[0], \"/jup/{rest}\": choose paths that do not overlap"
    );
    for routes in [
        format!("{{ path: '/jup/{{rest}}', {keeps} }}, {{ path: '/lab/{{rest}}', {keeps} }}"),
        format!(
            "{{ path: '/{{rest}}', host: a, {keeps} }}, {{ path: '/{{rest}}', host: b, {keeps} }}"
        ),
        format!("{{ path: '/a/{{room}}', {keeps} }}, {{ path: /a/lobby, pool: qix }}"),
        "{ path: '/jup/{rest}', pool: qix }, { path: '/jup/admin', pool: qix }".to_owned(),
    ] {
        assert_eq!(check(&routes), None, "{routes}");
    }
}

#[test]
fn engines_on_the_host_of_the_login_are_a_warning() {
    let warnings = |host: &str, url: &str| {
        let text = format!(
            "{}login: {{ public_url: '{url}' }}\nroutes: [{{ path: '/jup/{{rest}}', {host} pool: qix, http: allow, affinity: {{ key: account }} }}]",
            websocket_pool()
        );
        let found = from_text(&text).unwrap().warnings;
        found
            .iter()
            .filter(|warning| warning.contains("on the host of /login"))
            .count()
    };
    assert_eq!(warnings("", "https://app.example.com"), 1);
    assert_eq!(
        warnings("host: app.example.com,", "https://app.example.com:8443"),
        1
    );
    assert_eq!(
        warnings("host: lab.example.com,", "https://app.example.com"),
        0
    );
}
