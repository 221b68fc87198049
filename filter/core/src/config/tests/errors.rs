//! Every error names its field, and all errors are reported at once.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn unknown_fields_and_wrong_types_are_named() {
    for (pointer, value, message) in [
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
            json!({"timeout": -1}),
            "service.timeout: expected a duration with a unit",
        ),
        ("/tokens/leeway", json!(1.5), "tokens.leeway: "),
        ("/cookie", json!(7), "cookie: "),
        ("/events", json!({"held": 1}), "unknown field `held`"),
        ("/cache", json!({"size": 1}), "unknown field `size`"),
        ("/events", Value::Null, "events: "),
        ("/routes/0/max_age", json!("1"), "routes[0].max_age: "),
    ] {
        let reported = errors(pointer, value);
        assert!(reported.contains(message), "{pointer}: {reported}");
    }
    assert!(Config::parse(b"{}x", &|_| None).is_err());
    assert!(
        parse(&json!({"routes": []}))
            .is_err_and(|errors| errors.contains("missing field `tokens`"))
    );
}

#[test]
fn invalid_values_are_named() {
    let key = |key: Value| ("/tokens/keys", json!([key]), "tokens.keys[0]: ");
    for (pointer, value, message) in [
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
        ("/strip_headers", json!(["a b"]), "strip_headers[0]: "),
        ("/strip_headers", json!([":path"]), "strip_headers[0]: "),
        ("/routes", json!([]), "routes: "),
        (
            "/routes",
            json!([{"path": "/app", "action": "place", "roles": ["admin"]}]),
            "routes[0].roles: is for authenticate routes",
        ),
        (
            "/routes",
            json!([{"path": "/", "action": "authenticate", "anonymous": "allow", "roles": ["admin"]}]),
            "routes[0].roles: a request without a session has no roles",
        ),
        (
            "/routes",
            json!([{"path": "/", "action": "authenticate", "roles": [""]}]),
            "routes[0].roles: must not have empty names",
        ),
        (
            "/routes",
            json!([{"action": "place"}]),
            "routes[0]: needs either prefix or path",
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
            json!([{"path": "/a", "action": "bypass", "max_age": "1m"}]),
            "routes[0].max_age: ",
        ),
        (
            "/routes",
            json!([{"path": "/a", "action": "place", "max_age": "1m", "max_age_jitter": 1.1}]),
            "routes[0].max_age_jitter: ",
        ),
        (
            "/events",
            json!({"poll_timeout": "99ms"}),
            "events.poll_timeout: ",
        ),
        (
            "/events",
            json!({"poll_timeout": "25001ms"}),
            "events.poll_timeout: ",
        ),
        (
            "/events",
            json!({"stale_after": "6999ms"}),
            "events.stale_after: ",
        ),
        ("/cache", json!({"entries": 1_000_001}), "cache.entries: "),
        ("/cache", json!({"bytes": 65_535}), "cache.bytes: "),
        ("/cache", json!({"ttl": "0s"}), "cache.ttl: "),
        ("/cache", json!({"ttl": "31s"}), "cache.ttl: "),
        ("/close_timeout", json!("0s"), "close_timeout: "),
        ("/close_timeout", json!("10001ms"), "close_timeout: "),
        ("/service", json!({"cluster": ""}), "service.cluster: "),
        (
            "/service",
            json!({"authority": "a b"}),
            "service.authority: ",
        ),
        ("/service", json!({"timeout": "0s"}), "service.timeout: "),
        (
            "/service",
            json!({"timeout": "30001ms"}),
            "service.timeout: must be 1ms to 30s",
        ),
        ("/service", json!({"secret": "a\nb"}), "service.secret: "),
        ("/tokens/keys", json!([]), "tokens: has neither"),
        ("/tokens/issuer", json!(""), "tokens.issuer: "),
        ("/tokens/audience", json!(""), "tokens.audience: "),
        ("/tokens/leeway", json!("301s"), "tokens.leeway: "),
        ("/tokens/leeway", json!("1500ms"), "tokens.leeway: "),
        (
            "/tokens/jwks",
            json!({"path": "jwks"}),
            "tokens.jwks.path: ",
        ),
        (
            "/tokens/jwks",
            json!({"refresh": "0s"}),
            "tokens.jwks.refresh: ",
        ),
        key(json!({"alg": "HS256"})),
        key(json!({"alg": "HS256", "secret": "short"})),
        key(json!({"secret": SECRET})),
        key(json!({"alg": "RS256", "secret": SECRET})),
        key(json!({"alg": "HS256", "secret": SECRET, "secret_env": "SECRET"})),
        key(json!({"jwk": {}})),
        key(json!({"kid": "a", "jwk": {"kty": "oct", "k": "x"}})),
    ] {
        let reported = errors(pointer, value.clone());
        assert!(reported.contains(message), "{pointer} {value}: {reported}");
    }
}

#[test]
fn limits_are_valid_values() {
    for (pointer, value) in [
        ("/service", json!({"timeout": "30s"})),
        (
            "/events",
            json!({"poll_timeout": "5s", "stale_after": "7s"}),
        ),
        (
            "/strip_headers",
            json!(["x-user", "x-qlik-session", "x-forwarded-protocol"]),
        ),
    ] {
        assert_eq!(errors(pointer, value), "", "{pointer}");
    }
}

#[test]
fn headers_that_decisions_use_cannot_be_stripped() {
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
        let reported = errors("/strip_headers", json!(["x-user", name]));
        let message = "strip_headers[1]: cannot be stripped: decisions use it";
        assert_eq!(reported, message, "{name}");
    }
}

#[test]
fn all_errors_are_reported_at_once_without_secrets() {
    let json = json!({
        "service": {"secret": "geheim geheim"},
        "cookie": "", "origins": ["*"], "routes": [],
        "tokens": {"keys": [{"alg": "HS256", "secret": "geheim"}, {"jwk": {"kty": "oct", "k": "Z2VoZWlt"}}]},
    });
    let reported = parse(&json).err().unwrap();
    assert_eq!(reported.split("; ").count(), 6, "{reported}");
    assert!(
        !reported.contains("geheim") && !reported.contains("Z2VoZWlt"),
        "{reported}"
    );
    let wrong_type = errors("/tokens/keys/0/secret", json!(["geheim"]));
    assert!(wrong_type.contains("secret: expected a text") && !wrong_type.contains("geheim"));
}
