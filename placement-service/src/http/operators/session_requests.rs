//! Parses the bodies of requests about child sessions. An unknown field is an error. Knows no session.

use crate::http::body;
use crate::http::problem::HttpProblem;
use berth_store::RESERVED_CLAIMS;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;
use utoipa::ToSchema;

/// Maximum size of the result that a child passes to its parent, as JSON, in bytes.
pub const MAX_RESULT_BYTES: usize = 16 * 1024;

const MAX_IDLE_TIMEOUT_S: u64 = 30 * 24 * 3600;

/// The body of `POST /v1/sessions/{sid}/children`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChildRequest {
    /// The runtime of the child; without it, the caller's runtime.
    #[serde(default)]
    pub runtime: Option<String>,
    /// The idle timeout of the child, in seconds.
    #[serde(default)]
    idle_timeout_s: Option<u64>,
    /// Further claims of the child's token. They replace no claim of the parent.
    #[serde(default)]
    pub claims: Map<String, Value>,
}

impl ChildRequest {
    /// Parses a body.
    pub fn parse(body: &[u8]) -> Result<Self, HttpProblem> {
        let request: Self = body::parse_json(body)?;
        if request
            .runtime
            .as_deref()
            .is_some_and(|name| !is_runtime_name(name))
        {
            return Err(HttpProblem::invalid_request(
                "runtime must be 1 to 128 letters, digits and - _ .",
            ));
        }
        let fits = |seconds: u64| (1..=MAX_IDLE_TIMEOUT_S).contains(&seconds);
        if request.idle_timeout_s.is_some_and(|s| !fits(s)) {
            let detail = format!("idle_timeout_s must be 1 to {MAX_IDLE_TIMEOUT_S}");
            return Err(HttpProblem::invalid_request(detail));
        }
        if let Some(reserved) = RESERVED_CLAIMS
            .iter()
            .find(|reserved| request.claims.contains_key(**reserved))
        {
            return Err(HttpProblem::invalid_request(format!(
                "claims must not name {reserved}"
            )));
        }
        Ok(request)
    }

    /// The requested idle timeout.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout_s.map(Duration::from_secs)
    }
}

/// The body of `POST /v1/sessions/{sid}/complete`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// Any JSON.
    pub result: Value,
}

impl Completion {
    /// Parses a body.
    pub fn parse(body: &[u8]) -> Result<Self, HttpProblem> {
        let completion: Self = body::parse_json(body)?;
        let size = serde_json::to_vec(&completion.result).map_or(usize::MAX, |text| text.len());
        if size > MAX_RESULT_BYTES {
            let detail = format!("result takes more than {MAX_RESULT_BYTES} bytes");
            return Err(HttpProblem::invalid_request(detail));
        }
        Ok(completion)
    }
}

/// Whether a text is a valid name of a runtime, by the rule of `session.runtime`.
#[must_use]
pub fn is_runtime_name(text: &str) -> bool {
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=128).contains(&text.len()) && text.bytes().all(is_name_byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn detail(problem: &HttpProblem) -> String {
        assert_eq!(problem.reason(), "invalid-request");
        let json = serde_json::to_value(problem).unwrap();
        json["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn all_fields_of_a_child_are_optional() {
        let plain = ChildRequest::parse(b"{}").unwrap();
        assert!(plain.runtime.is_none() && plain.claims.is_empty());
        assert_eq!(plain.idle_timeout(), None);
        let body = br#"{"runtime":"flows-2","idle_timeout_s":600,"claims":{"case":"A-7"}}"#;
        let full = ChildRequest::parse(body).unwrap();
        assert_eq!(full.runtime.as_deref(), Some("flows-2"));
        assert_eq!(full.idle_timeout(), Some(Duration::from_secs(600)));
        assert_eq!(full.claims["case"], "A-7");
    }

    #[test]
    fn faults_of_a_child_name_the_field_and_not_its_value() {
        for (body, expected) in [
            (json!("hunter2"), "the body must be a JSON object"),
            (
                json!({"hunter2": 1}),
                "a field is not known; known are runtime, idle_timeout_s, claims",
            ),
            (
                json!({"runtime": "hunter2 "}),
                "runtime must be 1 to 128 letters, digits and - _ .",
            ),
            (
                json!({"runtime": ""}),
                "runtime must be 1 to 128 letters, digits and - _ .",
            ),
            (json!({"runtime": 7}), "runtime is of the wrong type"),
            (
                json!({"idle_timeout_s": 0}),
                "idle_timeout_s must be 1 to 2592000",
            ),
            (
                json!({"idle_timeout_s": "10m"}),
                "idle_timeout_s is of the wrong type",
            ),
            (
                json!({"claims": ["hunter2"]}),
                "claims is of the wrong type",
            ),
            (
                json!({"claims": {"sub": "root"}}),
                "claims must not name sub",
            ),
        ] {
            let refused = ChildRequest::parse(body.to_string().as_bytes());
            assert_eq!(detail(&refused.unwrap_err()), expected, "{body}");
        }
    }

    #[test]
    fn a_result_is_any_json_up_to_a_size() {
        let parse = |body: &str| Completion::parse(body.as_bytes());
        assert_eq!(parse(r#"{"result":null}"#).unwrap().result, Value::Null);
        assert_eq!(parse(r#"{"result":[1]}"#).unwrap().result, json!([1]));
        let sized = |bytes: usize| format!(r#"{{"result":"{}"}}"#, "x".repeat(bytes - 2));
        assert!(parse(&sized(MAX_RESULT_BYTES)).is_ok());
        for (body, expected) in [
            ("{}", "result is missing"),
            ("", "the body is not JSON"),
            (
                r#"{"result":1,"more":2}"#,
                "a field is not known; known is result",
            ),
            (
                sized(MAX_RESULT_BYTES + 1).as_str(),
                "result takes more than 16384 bytes",
            ),
        ] {
            assert_eq!(detail(&parse(body).unwrap_err()), expected);
        }
    }
}
