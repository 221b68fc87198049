//! Checks what the placement service answers, before any of it becomes a header: the service is
//! trusted, yet a fault of it must not become a request that Envoy or an engine reads otherwise.
//! Knows the shape of a sound answer, nothing of the request.

use crate::route::MaxAge;
use crate::step::Change;
use berth_api::{MAX_ENGINE_NAME, PlacementAnswer, TokenAnswer, is_stream_name};
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

/// Bytes of an answer that are looked at; tokens of 16 KB fit well.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Names that an answer must not set: what frames the message, what the filter sets itself, and what
/// steers Envoy.
const OWN_NAMES: &[&str] = &[
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
const OWN_PREFIXES: &[&str] = &["x-berth-", "x-envoy-", "sec-websocket-"];

/// A sound answer, ready to become headers.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The JWT, still to be verified.
    pub token: String,
    /// Names the session in logs.
    pub session_ref: String,
    /// Unix seconds: the session's absolute end.
    pub session_expires_at: u64,
    /// Everything but the JWT.
    pub changes: Vec<Change>,
    /// What has been placed, in the answer of a placement call.
    pub placed: Option<Placed>,
}

/// A JWT is none of a log's business.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("session_ref", &self.session_ref)
            .field("session_expires_at", &self.session_expires_at)
            .field("changes", &self.changes)
            .field("placed", &self.placed)
            .finish_non_exhaustive()
    }
}

/// A stream that has its engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its name.
    pub stream: String,
    /// Whose it is.
    pub session_ref: String,
    /// The pool's name.
    pub pool: String,
    /// The engine's name.
    pub engine: String,
    /// Why this engine.
    pub reason: String,
    /// Unix seconds.
    pub session_expires_at: u64,
    /// How old it may become, if its route says so.
    pub max_age: Option<MaxAge>,
}

/// Reads the answer of a placement call.
///
/// # Errors
/// With the field that is wrong.
pub fn placement(body: &[u8]) -> Result<Answer, &'static str> {
    let answer: PlacementAnswer = read(body)?;
    if answer.cluster.is_empty() || !is_value(&answer.cluster) {
        return Err("cluster");
    }
    if !is_path(&answer.path) {
        return Err("path");
    }
    let mut changes = Vec::with_capacity(answer.set_headers.len().saturating_add(4));
    for (name, value) in answer.set_headers {
        if !is_name(&name) || !is_value(&value) {
            return Err("set_headers");
        }
        changes.push(Change::Set(Cow::Owned(name), value.into_bytes()));
    }
    set(&mut changes, ":path", answer.path);
    set(&mut changes, "x-berth-cluster", answer.cluster);
    if let Some(destination) = answer.destination {
        if !destination
            .parse::<SocketAddr>()
            .is_ok_and(|a| a.port() != 0)
        {
            return Err("destination");
        }
        set(&mut changes, "x-berth-destination", destination);
    }
    if !is_stream_name(&answer.stream) {
        return Err("stream");
    }
    for (text, field) in [
        (&answer.pool, "pool"),
        (&answer.engine, "engine"),
        (&answer.reason, "reason"),
    ] {
        if !is_name_of_record(text) {
            return Err(field);
        }
    }
    let placed = Placed {
        stream: answer.stream,
        session_ref: answer.session_ref.clone(),
        pool: answer.pool,
        engine: answer.engine,
        reason: answer.reason,
        session_expires_at: answer.session_expires_at,
        max_age: None,
    };
    let until = answer.session_expires_at;
    let sound = sound(answer.token, answer.session_ref, until, changes)?;
    Ok(Answer {
        placed: Some(placed),
        ..sound
    })
}

/// The stream that an answer has placed, whatever else it says: to be given back when it is not used.
#[must_use]
pub fn stream_of(status: u16, body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        stream: String,
    }
    let placed = (status == 200).then(|| read::<Named>(body).ok()).flatten();
    placed
        .map(|placed| placed.stream)
        .filter(|stream| is_stream_name(stream))
}

/// Reads the answer of a token call.
///
/// # Errors
/// With the field that is wrong.
pub fn token(body: &[u8]) -> Result<Answer, &'static str> {
    let answer: TokenAnswer = read(body)?;
    let until = answer.session_expires_at;
    sound(answer.token, answer.session_ref, until, Vec::new())
}

fn sound(
    token: String,
    session_ref: String,
    session_expires_at: u64,
    changes: Vec<Change>,
) -> Result<Answer, &'static str> {
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("token");
    }
    if !is_stream_name(&session_ref) {
        return Err("session_ref");
    }
    Ok(Answer {
        token,
        session_ref,
        session_expires_at,
        changes,
        placed: None,
    })
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, &'static str> {
    if body.len() > MAX_ANSWER_BYTES {
        return Err("size");
    }
    serde_json::from_slice(body).map_err(|_| "shape")
}

fn set(changes: &mut Vec<Change>, name: &'static str, value: String) {
    changes.push(Change::Set(Cow::Borrowed(name), value.into_bytes()));
}

/// A lower-case header name that an answer may set.
fn is_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.bytes().all(token)
        && !OWN_NAMES.contains(&name)
        && !OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A header value: no control byte, no blank at either end. Text beyond ASCII is passed on as UTF-8.
fn is_value(value: &str) -> bool {
    value.trim() == value && !value.bytes().any(|b| b.is_ascii_control())
}

/// The name of a pool or an engine, or a reason, for reports, metrics and logs: visible, and not too long.
/// Empty where the service is an old one.
fn is_name_of_record(text: &str) -> bool {
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

    const GOLDEN: &str = include_str!("../../tests/fixtures/contract/placement_answer.json");

    fn with(field: &str, value: Value) -> Result<Answer, &'static str> {
        let mut answer: Value = serde_json::from_str(GOLDEN).unwrap();
        answer[field] = value;
        placement(answer.to_string().as_bytes())
    }

    #[test]
    fn the_golden_answer_becomes_headers() {
        let answer = placement(GOLDEN.as_bytes()).unwrap();
        let set = |name: &'static str, value: &str| Change::Set(name.into(), value.into());
        let expected = [
            set("x-qlik-session", "6f9b2f7e-8f0c-4f1e-9d4b-0c5b3f0a7c11"),
            set(":path", "/app/engineData/ttl/60"),
            set("x-berth-cluster", "engines"),
            set("x-berth-destination", "127.0.0.1:9076"),
        ];
        assert_eq!(answer.changes, expected);
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
        let golden = include_str!("../../tests/fixtures/contract/token_answer.json");
        assert_eq!(token(golden.as_bytes()).unwrap().changes, []);
    }

    #[test]
    fn a_destination_is_an_address_and_a_port() {
        for good in ["10.0.0.1:9076", "[::1]:9076"] {
            assert!(with("destination", json!(good)).is_ok(), "{good}");
        }
        assert!(with("destination", Value::Null).is_ok());
        for bad in [
            "",
            "engine-0:9076",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.1:70000",
            "10.0.0.1:1\r\nx:y",
            "::1:9076",
        ] {
            assert_eq!(with("destination", json!(bad)), Err("destination"), "{bad}");
        }
    }

    #[test]
    fn headers_that_are_not_the_services_to_set_are_refused() {
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
    fn every_other_field_is_checked() {
        for bad in ["", "a\nb", " a"] {
            assert_eq!(with("cluster", json!(bad)), Err("cluster"));
        }
        for bad in ["", "app", "/a b", "/a\r\n", "/a#b", "/ä"] {
            assert_eq!(with("path", json!(bad)), Err("path"));
        }
        for field in ["stream", "pool", "engine", "reason"] {
            for bad in ["a b".to_owned(), "ä".to_owned(), "x".repeat(257)] {
                assert_eq!(with(field, json!(bad)), Err(field));
            }
        }
        // What no report may say is not taken from an answer either.
        for field in ["stream", "session_ref"] {
            for bad in [
                "".to_owned(),
                "a/b".to_owned(),
                "a b".to_owned(),
                "x".repeat(65),
            ] {
                assert_eq!(with(field, json!(bad)), Err(field), "{bad}");
            }
            assert!(with(field, json!("x".repeat(64))).is_ok());
        }
        assert!(with("engine", json!("")).is_ok());
        assert_eq!(with("token", json!("a b")), Err("token"));
        assert_eq!(with("path", json!(7)), Err("shape"));
        assert_eq!(placement(b""), Err("shape"));
        assert_eq!(placement(&vec![b' '; MAX_ANSWER_BYTES + 1]), Err("size"));
        assert_eq!(token(b"{}"), Err("shape"));
    }
}
