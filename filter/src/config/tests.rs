//! What a configuration may be, and that every fault is named.

use super::*;
use serde_json::{Value, json};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";

fn sound() -> Value {
    json!({
        "routes": [{"prefix": "/app/", "action": "place"}, {"path": "/login", "action": "bypass"}],
        "tokens": {"keys": [{"alg": "HS256", "secret": SECRET}]},
    })
}

fn parse(json: &Value) -> Result<Config, String> {
    let env = |name: &str| (name == "SECRET").then(|| SECRET.to_owned());
    Config::parse(json.to_string().as_bytes(), &env).map_err(|faults| faults.to_string())
}

/// The faults of the sound configuration with one field changed.
fn faults(pointer: &str, value: Value) -> String {
    let mut json = sound();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap()[field] = value;
    parse(&json).err().unwrap_or_default()
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let config = parse(&sound()).unwrap();
    assert_eq!(config.service.cluster, "placement");
    assert_eq!(config.service.authority, "berth-placement");
    assert_eq!(config.service.timeout_ms, 12_000);
    assert_eq!(config.service.authorization, None);
    assert_eq!(config.cookie, "__Host-berth");
    assert_eq!(config.login_path, "/login");
    assert_eq!(config.api_prefixes, ["/api"]);
    assert!(config.trust_headers.is_empty());
    let feed = (config.feed.hold_ms, config.feed.lost_after_ms);
    assert_eq!((feed, config.close_grace_ms), ((5_000, 10_000), 500));
    let cache = (config.cache.entries, config.cache.bytes);
    assert_eq!((cache, config.cache.ttl_ms), ((10_000, 8 << 20), 30_000));
    assert!(config.origins.is_empty() && config.jwks.is_none() && !config.keys.is_empty());
}

#[test]
fn a_key_set_alone_is_enough() {
    let mut json = sound();
    json["tokens"] = json!({"jwks": {}});
    let config = parse(&json).unwrap();
    let jwks = config.jwks.unwrap();
    assert_eq!(
        (jwks.path.as_str(), jwks.refresh_ms),
        ("/.well-known/jwks.json", 300_000)
    );
    assert!(config.keys.is_empty());
}

#[test]
fn nobody_is_let_in_without_a_session_unless_a_route_says_so() {
    let mut json = sound();
    let doors = |json: &Value| {
        let routes = parse(json).unwrap().routes;
        routes
            .iter()
            .map(|r| (r.bearer, r.anonymous))
            .collect::<Vec<_>>()
    };
    assert_eq!(doors(&json), [(false, false); 2]);
    json["routes"] = json!([
        {"prefix": "/app/", "action": "place", "bearer": "allow"},
        {"prefix": "/api/", "action": "authenticate", "bearer": "allow", "anonymous": "allow"},
        {"path": "/login", "action": "bypass", "bearer": "deny", "anonymous": "deny"},
    ]);
    assert_eq!(doors(&json), [(true, false), (true, true), (false, false)]);
}

#[test]
fn a_greatest_age_is_for_routes_that_ask_for_it() {
    let mut json = sound();
    json["routes"] = json!([
        {"path": "/a", "action": "place"},
        {"path": "/b", "action": "place", "max_age_s": 0},
        {"path": "/c", "action": "place", "max_age_s": 3600},
        {"path": "/d", "action": "place", "max_age_s": 1, "max_age_jitter": 0},
    ]);
    let routes = parse(&json).unwrap().routes;
    let ages: Vec<_> = routes
        .iter()
        .map(|route| route.max_age.map(|age| (age.ms, age.jitter)))
        .collect();
    assert_eq!(
        ages,
        [None, None, Some((3_600_000, 0.1)), Some((1_000, 0.0))]
    );
}

#[test]
fn a_secret_may_come_from_the_environment() {
    let key = |name| json!([{"alg": "HS256", "secret_env": name}]);
    assert_eq!(faults("/tokens/keys", key("SECRET")), "");
    assert!(faults("/tokens/keys", key("OTHER")).contains("OTHER is not set"));
}

#[test]
fn unknown_fields_and_wrong_types_are_named() {
    for (pointer, value, words) in [
        ("/rotues", json!([]), "unknown field `rotues`"),
        ("/service", json!({"cluser": "x"}), "unknown field `cluser`"),
        ("/tokens/key", json!([]), "unknown field `key`"),
        (
            "/tokens/keys/0/sekret",
            json!("x"),
            "unknown field `sekret`",
        ),
        ("/routes/0/prefx", json!("/"), "unknown field `prefx`"),
        (
            "/routes/0/action",
            json!("go"),
            "routes[0].action: unknown variant `go`",
        ),
        ("/routes/0/bearer", json!(true), "routes[0].bearer: "),
        ("/routes/0/anonymous", json!("yes"), "unknown variant `yes`"),
        (
            "/service",
            json!({"timeout_ms": -1}),
            "service.timeout_ms: ",
        ),
        ("/tokens/leeway_s", json!(1.5), "tokens.leeway_s: "),
        ("/cookie", json!(7), "cookie: "),
        ("/feed", json!({"hold": 1}), "unknown field `hold`"),
        ("/cache", json!({"size": 1}), "unknown field `size`"),
        ("/feed", Value::Null, "feed: "),
        ("/routes/0/max_age_s", json!(-1), "routes[0].max_age_s: "),
    ] {
        let found = faults(pointer, value);
        assert!(found.contains(words), "{pointer}: {found}");
    }
    assert!(Config::parse(b"{}x", &|_| None).is_err());
    assert!(parse(&json!({"routes": []})).is_err_and(|f| f.contains("missing field `tokens`")));
}

#[test]
fn values_that_make_no_sense_are_named() {
    let key = |key: Value| ("/tokens/keys", json!([key]), "tokens.keys[0]: ");
    for (pointer, value, words) in [
        ("/cookie", json!("a=b"), "cookie: "),
        ("/cookie", json!(""), "cookie: "),
        ("/login_path", json!("login"), "login_path: "),
        ("/login_path", json!("https://x/"), "login_path: "),
        (
            "/login_path",
            json!("/app/login"),
            "login_path: its route has the action place",
        ),
        ("/api_prefixes", json!(["api"]), "api_prefixes[0]: "),
        (
            "/origins",
            json!(["https://a.example", "*"]),
            "origins[1]: ",
        ),
        ("/origins", json!(["https://a.example/x"]), "origins[0]: "),
        ("/origins", json!(["null"]), "origins[0]: "),
        ("/trust_headers", json!(["a b"]), "trust_headers[0]: "),
        ("/trust_headers", json!([":path"]), "trust_headers[0]: "),
        ("/routes", json!([]), "routes: "),
        (
            "/routes",
            json!([{"action": "place"}]),
            "routes[0]: needs prefix or path",
        ),
        (
            "/routes",
            json!([{"prefix": "/a", "path": "/a", "action": "place"}]),
            "routes[0]: needs",
        ),
        (
            "/routes",
            json!([{"prefix": "a", "action": "place"}]),
            "routes[0]: must",
        ),
        (
            "/routes",
            json!([{"path": "/a/../b", "action": "place"}]),
            "routes[0]: must",
        ),
        (
            "/routes",
            json!([{"path": "/a", "action": "bypass", "bearer": "allow"}]),
            "routes[0].bearer: ",
        ),
        (
            "/routes",
            json!([{"path": "/a", "action": "bypass", "anonymous": "allow"}]),
            "routes[0].anonymous: ",
        ),
        (
            "/routes",
            json!([{"path": "/a", "action": "place", "anonymous": "allow"}]),
            "routes[0].anonymous: ",
        ),
        (
            "/routes",
            json!([{"path": "/a", "action": "bypass", "max_age_s": 60}]),
            "routes[0].max_age_s: ",
        ),
        (
            "/routes",
            json!([{"path": "/a", "action": "place", "max_age_s": 60, "max_age_jitter": 1.1}]),
            "routes[0].max_age_jitter: ",
        ),
        ("/feed", json!({"hold_ms": 99}), "feed.hold_ms: "),
        ("/feed", json!({"hold_ms": 25_001}), "feed.hold_ms: "),
        (
            "/feed",
            json!({"lost_after_ms": 6_999}),
            "feed.lost_after_ms: ",
        ),
        ("/cache", json!({"entries": 1_000_001}), "cache.entries: "),
        ("/cache", json!({"bytes": 65_535}), "cache.bytes: "),
        ("/cache", json!({"ttl_s": 0}), "cache.ttl_s: "),
        ("/cache", json!({"ttl_s": 31}), "cache.ttl_s: "),
        ("/close_grace_ms", json!(0), "close_grace_ms: "),
        ("/close_grace_ms", json!(10_001), "close_grace_ms: "),
        ("/service", json!({"cluster": ""}), "service.cluster: "),
        (
            "/service",
            json!({"authority": "a b"}),
            "service.authority: ",
        ),
        ("/service", json!({"timeout_ms": 0}), "service.timeout_ms: "),
        (
            "/service",
            json!({"timeout_ms": 30_001}),
            "service.timeout_ms: must be 1 to 30000",
        ),
        ("/service", json!({"secret": "a\nb"}), "service.secret: "),
        ("/tokens/keys", json!([]), "tokens: has neither"),
        ("/tokens/issuer", json!(""), "tokens.issuer: "),
        ("/tokens/audience", json!(""), "tokens.audience: "),
        ("/tokens/leeway_s", json!(301), "tokens.leeway_s: "),
        (
            "/tokens/jwks",
            json!({"path": "jwks"}),
            "tokens.jwks.path: ",
        ),
        (
            "/tokens/jwks",
            json!({"refresh_s": 0}),
            "tokens.jwks.refresh_s: ",
        ),
        key(json!({"alg": "HS256"})),
        key(json!({"alg": "HS256", "secret": "short"})),
        key(json!({"secret": SECRET})),
        key(json!({"alg": "RS256", "secret": SECRET})),
        key(json!({"alg": "HS256", "secret": SECRET, "secret_env": "SECRET"})),
        key(json!({"jwk": {}})),
        key(json!({"kid": "a", "jwk": {"kty": "oct", "k": "x"}})),
    ] {
        let found = faults(pointer, value.clone());
        assert!(found.contains(words), "{pointer} {value}: {found}");
    }
}

#[test]
fn the_greatest_and_the_least_are_taken() {
    for (pointer, value) in [
        ("/service", json!({"timeout_ms": 30_000})),
        ("/feed", json!({"hold_ms": 5_000, "lost_after_ms": 7_000})),
        (
            "/trust_headers",
            json!(["x-user", "x-qlik-session", "x-forwarded-protocol"]),
        ),
    ] {
        assert_eq!(faults(pointer, value), "", "{pointer}");
    }
}

#[test]
fn what_requests_are_read_by_is_no_trust_header() {
    for name in [
        "X-Forwarded-Proto",
        "x_forwarded_proto",
        "origin",
        "Accept",
        "sec-fetch-mode",
        "Sec-WebSocket-Key",
        "sec-websocket-protocol",
        "Connection",
        "upgrade",
        "Cookie",
        "HOST",
    ] {
        let found = faults("/trust_headers", json!(["x-user", name]));
        let words = "trust_headers[1]: cannot be taken off: requests are read by it";
        assert_eq!(found, words, "{name}");
    }
}

#[test]
fn all_faults_come_at_once_and_quote_no_secret() {
    let json = json!({
        "service": {"secret": "geheim geheim"},
        "cookie": "", "origins": ["*"], "routes": [],
        "tokens": {"keys": [{"alg": "HS256", "secret": "geheim"}, {"jwk": {"kty": "oct", "k": "Z2VoZWlt"}}]},
    });
    let found = parse(&json).err().unwrap();
    assert_eq!(found.split("; ").count(), 6, "{found}");
    assert!(
        !found.contains("geheim") && !found.contains("Z2VoZWlt"),
        "{found}"
    );
    let wrong_type = faults("/tokens/keys/0/secret", json!(["geheim"]));
    assert!(wrong_type.contains("secret: expected a text") && !wrong_type.contains("geheim"));
}

#[test]
fn a_secret_becomes_a_bearer() {
    let mut json = sound();
    json["service"] = json!({"secret": "s3cret"});
    let config = parse(&json).unwrap();
    assert_eq!(
        config.service.authorization.as_deref(),
        Some("Bearer s3cret")
    );
}
