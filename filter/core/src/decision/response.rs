//! Validates the responses of the placement service before anything of them becomes a header. The service is trusted,
//! but a bug in it must not become a request that Envoy or an engine reads differently. Knows the form of a valid
//! response, nothing of the request.

mod engine;

use crate::decision::effects::HeaderMutation;
use crate::streams::PlacedStream;
use berth_api::{KeyAffinity, MAX_ENGINE_NAME, PlacementAnswer, TokenAnswer, is_stream_name};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

pub use engine::validate_engine;

/// Maximum bytes of a response; tokens have at most 16 KB.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Headers that a response must not set: those that frame the message and those that the filter sets.
const FORBIDDEN_NAMES: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// See [`FORBIDDEN_NAMES`]; `x-envoy-` headers control Envoy.
const FORBIDDEN_PREFIXES: &[&str] = &["x-berth-", "x-envoy-", "sec-websocket-"];

/// A valid response.
#[derive(Clone, PartialEq, Eq)]
pub struct ValidatedResponse {
    /// The JWT, not verified yet.
    pub token: String,
    /// The session in logs.
    pub session_ref: String,
    /// Unix seconds: the absolute expiry of the session.
    pub session_expires_at: u64,
    /// All headers but `Authorization`.
    pub mutations: Vec<HeaderMutation>,
    /// The placed stream, in the response of a placement call.
    pub placed: Option<PlacedStream>,
    /// The key of the request, in the response of a placement call on a route with affinity.
    pub affinity: Option<KeyAffinity>,
}

/// Without the JWT, which is a secret.
impl fmt::Debug for ValidatedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidatedResponse")
            .field("session_ref", &self.session_ref)
            .field("session_expires_at", &self.session_expires_at)
            .field("mutations", &self.mutations)
            .field("placed", &self.placed)
            .finish_non_exhaustive()
    }
}

/// Validates the response of a placement call for a WebSocket.
///
/// # Errors
/// The field that is invalid.
pub fn validate_placement(body: &[u8]) -> Result<ValidatedResponse, &'static str> {
    let answer: PlacementAnswer = parse(body)?;
    if !is_path(&answer.path) {
        return Err("path");
    }
    let mut mutations = header_mutations(&answer.set_headers)?;
    set(&mut mutations, ":path", answer.path.clone());
    if !is_stream_name(&answer.stream) {
        return Err("stream");
    }
    engine::validate_placed(answer, mutations)
}

/// Validates the response of a token call.
///
/// # Errors
/// The field that is invalid.
pub fn validate_token(body: &[u8]) -> Result<ValidatedResponse, &'static str> {
    let answer: TokenAnswer = parse(body)?;
    let expires_at = answer.session_expires_at;
    validate(answer.token, answer.session_ref, expires_at, Vec::new())
}

/// The stream that a response has placed, even if the rest of it is invalid: an unused placement is released.
#[must_use]
pub fn placed_stream_id(status: u16, body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct StreamField {
        stream: String,
    }
    let field = (status == 200).then(|| parse::<StreamField>(body).ok());
    field
        .flatten()
        .map(|field| field.stream)
        .filter(|stream| is_stream_name(stream))
}

fn validate(
    token: String,
    session_ref: String,
    session_expires_at: u64,
    mutations: Vec<HeaderMutation>,
) -> Result<ValidatedResponse, &'static str> {
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("token");
    }
    if !is_stream_name(&session_ref) {
        return Err("session_ref");
    }
    Ok(ValidatedResponse {
        token,
        session_ref,
        session_expires_at,
        mutations,
        placed: None,
        affinity: None,
    })
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, &'static str> {
    if body.len() > MAX_ANSWER_BYTES {
        return Err("size");
    }
    serde_json::from_slice(body).map_err(|_| "shape")
}

/// The headers that a response sets.
fn header_mutations(
    headers: &BTreeMap<String, String>,
) -> Result<Vec<HeaderMutation>, &'static str> {
    let mut mutations = Vec::with_capacity(headers.len().saturating_add(4));
    for (name, value) in headers {
        if !is_name(name) || !is_value(value) {
            return Err("set_headers");
        }
        let name = Cow::Owned(name.clone());
        mutations.push(HeaderMutation::Set(name, value.clone().into_bytes()));
    }
    Ok(mutations)
}

fn set(mutations: &mut Vec<HeaderMutation>, name: &'static str, value: String) {
    mutations.push(HeaderMutation::Set(Cow::Borrowed(name), value.into_bytes()));
}

/// A lower-case header name that a response may set.
fn is_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.bytes().all(token)
        && !FORBIDDEN_NAMES.contains(&name)
        && !FORBIDDEN_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// A header value: no control byte, no blank at either end. Other text is forwarded as UTF-8.
fn is_value(value: &str) -> bool {
    value.trim() == value && !value.bytes().any(|b| b.is_ascii_control())
}

/// A pool, an engine or a reason, for reports, metrics and logs: visible ASCII of limited length. Empty if an older
/// service does not send it.
fn is_label(text: &str) -> bool {
    text.len() <= MAX_ENGINE_NAME && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && !path.contains('#') && path.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const GOLDEN: &str = include_str!("../../../../tests/fixtures/contract/placement_answer.json");

    fn with(field: &str, value: Value) -> Result<ValidatedResponse, &'static str> {
        let mut answer: Value = serde_json::from_str(GOLDEN).unwrap();
        answer[field] = value;
        validate_placement(answer.to_string().as_bytes())
    }

    #[test]
    fn the_golden_answer_becomes_headers() {
        let answer = validate_placement(GOLDEN.as_bytes()).unwrap();
        let set = |name: &'static str, value: &str| HeaderMutation::Set(name.into(), value.into());
        let expected = [
            set("x-qlik-session", "6f9b2f7e-8f0c-4f1e-9d4b-0c5b3f0a7c11"),
            set(":path", "/app/engineData/ttl/60"),
            set("x-berth-cluster", "engines"),
            set("x-berth-destination", "127.0.0.1:9076"),
        ];
        assert_eq!(answer.mutations, expected);
        assert_eq!(answer.token, "aaa.bbb.ccc");
        let placed = answer.placed.unwrap();
        assert_eq!(
            (placed.stream.as_str(), placed.reason.as_str()),
            ("5c6a1f0e", "least-load")
        );
        assert_eq!(
            (placed.pool.as_str(), placed.engine.as_str()),
            ("qix", "engine-0")
        );
        assert_eq!(placed.session_expires_at, 1_790_036_000);
        let golden = include_str!("../../../../tests/fixtures/contract/token_answer.json");
        assert_eq!(validate_token(golden.as_bytes()).unwrap().mutations, []);
    }

    #[test]
    fn a_destination_is_an_address_and_a_port() {
        for valid in ["10.0.0.1:9076", "[::1]:9076"] {
            assert!(with("destination", json!(valid)).is_ok(), "{valid}");
        }
        assert!(with("destination", Value::Null).is_ok());
        for invalid in [
            "",
            "engine-0:9076",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.1:70000",
            "10.0.0.1:1\r\nx:y",
            "::1:9076",
        ] {
            assert_eq!(
                with("destination", json!(invalid)),
                Err("destination"),
                "{invalid}"
            );
        }
    }

    #[test]
    fn forbidden_headers_are_refused() {
        for name in [
            "authorization",
            "host",
            "cookie",
            "x-berth-cluster",
            ":path",
            "content-length",
            "X-Upper",
            "a b",
            "",
            "upgrade",
            "x-envoy-original-dst-host",
        ] {
            assert_eq!(
                with("set_headers", json!({name: "v"})),
                Err("set_headers"),
                "{name}"
            );
        }
        for value in ["a\r\nx: y", "a\0", " a", "a "] {
            assert_eq!(
                with("set_headers", json!({"x-a": value})),
                Err("set_headers")
            );
        }
        assert!(with("set_headers", json!({"x-a": "", "x-b": "ü"})).is_ok());
    }

    #[test]
    fn every_other_field_is_validated() {
        for invalid in ["", "a\nb", " a"] {
            assert_eq!(with("cluster", json!(invalid)), Err("cluster"));
        }
        for invalid in ["", "app", "/a b", "/a\r\n", "/a#b", "/ä"] {
            assert_eq!(with("path", json!(invalid)), Err("path"));
        }
        for field in ["stream", "pool", "engine", "reason"] {
            for invalid in ["a b".to_owned(), "ä".to_owned(), "x".repeat(257)] {
                assert_eq!(with(field, json!(invalid)), Err(field));
            }
        }
        // Names that a report could not carry are refused here, too.
        for field in ["stream", "session_ref"] {
            for invalid in [
                "".to_owned(),
                "a/b".to_owned(),
                "a b".to_owned(),
                "x".repeat(65),
            ] {
                assert_eq!(with(field, json!(invalid)), Err(field), "{invalid}");
            }
            assert!(with(field, json!("x".repeat(64))).is_ok());
        }
        assert!(with("engine", json!("")).is_ok());
        assert_eq!(with("token", json!("a b")), Err("token"));
        assert_eq!(with("path", json!(7)), Err("shape"));
        assert_eq!(validate_placement(b""), Err("shape"));
        assert_eq!(
            validate_placement(&vec![b' '; MAX_ANSWER_BYTES + 1]),
            Err("size")
        );
        assert_eq!(validate_token(b"{}"), Err("shape"));
    }
}
