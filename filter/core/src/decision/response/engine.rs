//! Validates what a placement says about the engine: how Envoy finds it, the names of the stream, and the key that further
//! requests share.

use super::{
    ValidatedResponse, header_mutations, is_label, is_path, is_value, parse, set, validate,
};
use crate::decision::effects::HeaderMutation;
use crate::streams::PlacedStream;
use berth_api::{KeyAffinity, PlacementAnswer, is_key_name};
use std::net::SocketAddr;

/// Validates the response of a placement call for a plain request. It has what every request of the key gets; the path
/// depends on the request.
///
/// # Errors
/// The field that is invalid.
pub fn validate_engine(body: &[u8]) -> Result<ValidatedResponse, &'static str> {
    let answer: PlacementAnswer = parse(body)?;
    let affinity = answer.affinity.as_ref().ok_or("affinity")?;
    let mutations = header_mutations(&affinity.set_headers)?;
    validate_scope(affinity)?;
    validate_placed(answer, mutations)
}

/// Validates the fields of an answer besides headers and path, which `mutations` has.
pub(super) fn validate_placed(
    answer: PlacementAnswer,
    mut mutations: Vec<HeaderMutation>,
) -> Result<ValidatedResponse, &'static str> {
    if answer.cluster.is_empty() || !is_value(&answer.cluster) {
        return Err("cluster");
    }
    set(&mut mutations, "x-berth-cluster", answer.cluster);
    if let Some(destination) = answer.destination {
        if !destination
            .parse::<SocketAddr>()
            .is_ok_and(|a| a.port() != 0)
        {
            return Err("destination");
        }
        set(&mut mutations, "x-berth-destination", destination);
    }
    for (text, field) in [
        (&answer.pool, "pool"),
        (&answer.engine, "engine"),
        (&answer.reason, "reason"),
    ] {
        if !is_label(text) {
            return Err(field);
        }
    }
    let key = answer.affinity.as_ref().map(|affinity| &*affinity.key);
    if key.is_some_and(|key| !is_key_name(key)) {
        return Err("affinity.key");
    }
    let placed = PlacedStream {
        stream: answer.stream,
        session_ref: answer.session_ref.clone(),
        pool: answer.pool,
        engine: answer.engine,
        reason: answer.reason,
        session_expires_at: answer.session_expires_at,
        max_age: None,
        key: key.map(Into::into),
        counts_activity: true,
    };
    let expires_at = answer.session_expires_at;
    let response = validate(answer.token, answer.session_ref, expires_at, mutations)?;
    Ok(ValidatedResponse {
        placed: Some(placed),
        affinity: answer.affinity,
        ..response
    })
}

/// A scope whose prefix and rewrite are paths without a query.
fn validate_scope(affinity: &KeyAffinity) -> Result<(), &'static str> {
    let is_plain_path = |path: &str| is_path(path) && !path.contains('?');
    if !is_plain_path(&affinity.scope.prefix) {
        return Err("affinity.scope");
    }
    let rewrite = affinity.rewrite.as_deref();
    if !rewrite.is_none_or(is_plain_path) {
        return Err("affinity.rewrite");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const GOLDEN: &str =
        include_str!("../../../../../tests/fixtures/contract/placement_answer_affinity.json");

    /// The golden answer with this field of its affinity changed.
    fn with(field: &str, value: Value) -> Result<ValidatedResponse, &'static str> {
        let mut answer: Value = serde_json::from_str(GOLDEN).unwrap();
        answer["affinity"][field] = value;
        validate_engine(answer.to_string().as_bytes())
    }

    #[test]
    fn headers_are_those_of_every_request_of_the_key() {
        let mut answer: Value = serde_json::from_str(GOLDEN).unwrap();
        answer["set_headers"] = json!({"x-own": "1"});
        let response = validate_engine(answer.to_string().as_bytes()).unwrap();
        let set = |name: &'static str, value: &str| {
            HeaderMutation::Set(name.into(), value.as_bytes().to_vec())
        };
        let expected = [
            set("x-forwarded-user", "ada"),
            set("x-berth-cluster", "engines"),
            set("x-berth-destination", "127.0.0.1:9076"),
        ];
        assert_eq!(response.mutations, expected);
        let key = response.placed.unwrap().key;
        assert_eq!(key.as_deref(), response.affinity.map(|a| a.key).as_deref());
    }

    #[test]
    fn every_field_of_an_affinity_is_validated() {
        for name in ["X-A", "authorization", "cookie", "x-berth-cluster", "host"] {
            let invalid = with("set_headers", json!({name: "v"}));
            assert_eq!(invalid.unwrap_err(), "set_headers", "{name}");
        }
        for prefix in ["", "jup", "/a b", "/a?b", "/a#b"] {
            let invalid = with("scope", json!({"prefix": prefix}));
            assert_eq!(invalid.unwrap_err(), "affinity.scope", "{prefix}");
            let invalid = with("rewrite", json!(prefix));
            assert_eq!(invalid.unwrap_err(), "affinity.rewrite", "{prefix}");
        }
        for key in ["", "a/b", "a b"] {
            assert_eq!(with("key", json!(key)).unwrap_err(), "affinity.key");
        }
        assert!(with("rewrite", Value::Null).is_ok());
        let mut without: Value = serde_json::from_str(GOLDEN).unwrap();
        without.as_object_mut().unwrap().remove("affinity");
        let invalid = validate_engine(without.to_string().as_bytes());
        assert_eq!(invalid.unwrap_err(), "affinity");
    }
}
