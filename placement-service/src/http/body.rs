//! Reads request bodies: bounded bytes, and JSON. A fault in JSON names the field and never its value.

use super::problem::HttpProblem;
use crate::http::server::Exchange;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Maximum size of a body, in bytes, except for the reports of gateways.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The whole body. A body beyond the router's limit is answered with 413, one that arrives too slowly with 408.
pub(super) struct RawBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = HttpProblem;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpProblem> {
        let exchange = request.extensions().get::<Arc<Exchange>>().cloned();
        let body = Bytes::from_request(request, state);
        let body = match exchange {
            Some(exchange) => exchange.read_body(body).await,
            // The request does not come from a listener.
            None => Ok(body.await),
        };
        let Ok(body) = body else {
            return Err(HttpProblem::body_too_slow());
        };
        match body {
            Ok(bytes) => Ok(Self(bytes)),
            Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))) => {
                Err(HttpProblem::body_too_large())
            }
            Err(_) => Err(HttpProblem::body_incomplete()),
        }
    }
}

/// Parses JSON. The detail of the rejection names the field.
pub(super) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpProblem> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, message) = (error.path().to_string(), error.inner().to_string());
        let missing = message
            .strip_prefix("missing field `")
            .and_then(|after_quote| after_quote.split('`').next());
        let unknown = message.strip_prefix("unknown field `");
        let known_fields = unknown.and_then(|after_field| after_field.split_once("`, expected "));
        HttpProblem::invalid_request(match (missing, known_fields) {
            (Some(field), _) => format!("{field} is missing"),
            // Not the name of the field: it may be a misplaced value.
            (None, Some((_, known_fields))) => unknown_field_detail(known_fields),
            _ if error.inner().is_data() && path != "." => format!("{path} is of the wrong type"),
            _ if error.inner().is_data() => "the body must be a JSON object".to_owned(),
            _ => "the body is not JSON".to_owned(),
        })
    })?;
    deserializer
        .end()
        .map_err(|_| HttpProblem::invalid_request("the body is not JSON"))?;
    Ok(value)
}

fn unknown_field_detail(expected: &str) -> String {
    let list: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let verb = if list.len() > 1 { "are" } else { "is" };
    format!("a field is not known; known {verb} {}", list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(rename = "session")]
        _session: String,
    }

    #[test]
    fn faults_name_the_field_and_not_its_value() {
        for (body, detail) in [
            ("{}", "session is missing"),
            ("{\"session\":5}", "session is of the wrong type"),
            (
                "{\"session\":[\"hunter2\"]}",
                "session is of the wrong type",
            ),
            ("\"hunter2\"", "the body must be a JSON object"),
            ("hunter2", "the body is not JSON"),
            ("", "the body is not JSON"),
            ("{\"session\":\"hunter2\"", "the body is not JSON"),
            ("{\"session\":\"x\"}{}", "the body is not JSON"),
        ] {
            let problem = parse_json::<Named>(body.as_bytes()).err().unwrap();
            let json = serde_json::to_value(&problem).unwrap();
            assert_eq!(json["detail"], detail, "{body}");
            assert_eq!(problem.reason(), "invalid-request");
        }
        assert!(parse_json::<Named>(b"{\"session\":\"x\"}").is_ok());
    }
}
