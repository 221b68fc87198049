//! The id of a request in the refusals of the service: from the body of a gateway's call, or from `x-request-id`.

use crate::site::{Site, send_request};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_refusal_has_the_id_of_its_request() {
    let site = Site::start("").await;
    let long = "x".repeat(129);
    for (id, expected) in [
        (json!("0b1c-2d"), json!("0b1c-2d")),
        (json!("a b"), Value::Null),
        (json!("a\"\n"), Value::Null),
        (json!(long), Value::Null),
        (Value::Null, Value::Null),
    ] {
        let token = json!({"session": "unknown", "request_id": id});
        let refused = site.post_json("/v1/tokens", token).await;
        assert_eq!(refused.reason(), "unknown-session");
        assert_eq!(refused.json()["request_id"], expected, "{id}");
        let placement = json!({"session": "unknown", "method": "GET", "path": "/a", "host": "h", "request_id": id});
        let refused = site.post_json("/v1/placements", placement).await;
        assert_eq!(refused.json()["request_id"], expected, "{id}");
    }
    for (id, expected) in [("0b1c-2d", json!("0b1c-2d")), ("a b", Value::Null)] {
        let request = site.request(Method::GET, "/v1/sessions?account=a");
        let refused = send_request(request.header("x-request-id", id)).await;
        assert_eq!(refused.reason(), "unknown-client");
        assert_eq!(refused.json()["request_id"], expected, "{id}");
    }
}
