//! Which configurations are valid, and their defaults.

mod errors;
mod routes;

use super::*;
use serde_json::{Value, json};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SECRET: &str = "a-secret-of-thirty-two-bytes-or-more";

fn valid() -> Value {
    json!({
        "routes": [{"prefix": "/app/", "action": "place"}, {"path": "/login", "action": "bypass"}],
        "tokens": {"keys": [{"alg": "HS256", "secret": SECRET}]},
    })
}

fn parse(json: &Value) -> Result<Config, String> {
    let env = |name: &str| (name == "SECRET").then(|| SECRET.to_owned());
    Config::parse(json.to_string().as_bytes(), &env).map_err(|errors| errors.to_string())
}

/// The errors of the valid configuration with one field changed.
fn errors(pointer: &str, value: Value) -> String {
    let mut json = valid();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap()[field] = value;
    parse(&json).err().unwrap_or_default()
}

#[test]
fn defaults_are_as_documented() {
    let config = parse(&valid()).unwrap();
    assert_eq!(config.service.cluster, "placement");
    assert_eq!(config.service.authority, "berth-placement");
    assert_eq!(config.service.timeout_ms, 12_000);
    assert_eq!(config.service.authorization, None);
    assert_eq!(config.cookie, "__Host-berth");
    assert_eq!(config.login_path, "/login");
    assert_eq!(config.api_prefixes, ["/api"]);
    assert!(config.strip_headers.is_empty());
    let events = (config.events.poll_timeout_ms, config.events.stale_after_ms);
    assert_eq!((events, config.close_timeout_ms), ((5_000, 10_000), 500));
    let cache = (config.cache.entries, config.cache.bytes);
    assert_eq!((cache, config.cache.ttl_ms), ((10_000, 8 << 20), 30_000));
    assert!(config.origins.is_empty() && config.jwks.is_none() && !config.keys.is_empty());
}

#[test]
fn a_key_set_alone_is_enough() {
    let mut json = valid();
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
fn a_maximum_age_is_optional() {
    let mut json = valid();
    json["routes"] = json!([
        {"path": "/a", "action": "place"},
        {"path": "/b", "action": "place", "max_age": "0s"},
        {"path": "/c", "action": "place", "max_age": "1h"},
        {"path": "/d", "action": "place", "max_age": "1s", "max_age_jitter": 0},
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
    assert_eq!(errors("/tokens/keys", key("SECRET")), "");
    assert!(errors("/tokens/keys", key("OTHER")).contains("OTHER is not set"));
}

#[test]
fn a_secret_becomes_a_bearer_token() {
    let mut json = valid();
    json["service"] = json!({"secret": "s3cret"});
    let config = parse(&json).unwrap();
    assert_eq!(
        config.service.authorization.as_deref(),
        Some("Bearer s3cret")
    );
}

#[test]
fn the_secret_of_the_service_may_come_from_the_environment() {
    let service = |service: Value| {
        let mut json = valid();
        json["service"] = service;
        parse(&json).map(|config| config.service.authorization)
    };
    let expected = format!("Bearer {SECRET}");
    assert_eq!(service(json!({"secret_env": "SECRET"})), Ok(Some(expected)));
    assert_eq!(
        service(json!({"secret_env": "ABSENT"})),
        Err("service.secret_env: the environment variable ABSENT is not set".to_owned())
    );
    assert_eq!(
        service(json!({"secret_env": "SECRET", "secret": "s3cret"})),
        Err("service: has both secret and secret_env".to_owned())
    );
}

#[test]
fn a_fraction_may_be_a_text_as_envoy_passes_it_on() {
    let jitter = |value: Value| {
        let mut json = valid();
        json["routes"][0]["max_age"] = json!("1h");
        json["routes"][0]["max_age_jitter"] = value;
        let route = parse(&json).map(|config| config.routes.into_iter().next());
        route.map(|route| route.and_then(|route| route.max_age).map(|age| age.jitter))
    };
    for value in [json!(0.2), json!("0.2")] {
        assert_eq!(jitter(value), Ok(Some(0.2)));
    }
    for value in [json!("x"), json!("NaN"), json!("2"), json!(true)] {
        let error = jitter(value).unwrap_err();
        assert!(error.starts_with("routes[0].max_age_jitter: "), "{error}");
    }
}
