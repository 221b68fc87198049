//! The case table (`tests/fixtures/filter/cases.json`) through the decisions, natively and on
//! `wasm32-unknown-unknown`. `tests/wasm` runs the same table through the built module.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use berth_filter_core::config::Config;
use berth_filter_core::decision::effects::{CallError, HeaderMutation, LocalReply};
use berth_filter_core::decision::pending::CallOutcome;
use berth_filter_core::decision::rejection::RejectReason;
use berth_filter_core::decision::{Decision, Worker, decide};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use wasm_bindgen_test::wasm_bindgen_test;

const WORKER: Worker<'_> = Worker {
    gateway: "0c5b",
    draining: false,
};

type Headers = Vec<(String, Vec<u8>)>;

const CASES: &str = include_str!("../../../tests/fixtures/filter/cases.json");
const TOKENS: &str = include_str!("../../../tests/fixtures/filter/tokens.json");

/// The table with its tokens and keys inserted.
fn table() -> Value {
    let fixture: Value = serde_json::from_str(TOKENS).unwrap();
    let mut text = CASES.replace("{secret}", fixture["secret"].as_str().unwrap());
    for (name, token) in fixture["tokens"].as_object().unwrap() {
        text = text.replace(&format!("{{token:{name}}}"), token.as_str().unwrap());
    }
    for (name, key) in fixture["keys"].as_object().unwrap() {
        text = text.replace(&format!("\"{{key:{name}}}\""), &key.to_string());
    }
    serde_json::from_str(&text).unwrap()
}

/// Each character is one byte.
fn bytes(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn request(table: &Value, case: &Value) -> Headers {
    let mut headers = Headers::new();
    for pair in list(&table["requests"][text(&case["request"])]) {
        let name = text(&pair[0]);
        match case["set"].get(name) {
            None => headers.push((name.to_owned(), bytes(text(&pair[1])))),
            Some(Value::Null) => {}
            Some(value) => headers.push((name.to_owned(), bytes(text(value)))),
        }
    }
    let added = list(&case["add"]).map(|pair| (text(&pair[0]).to_owned(), bytes(text(&pair[1]))));
    headers.extend(added);
    headers
}

fn service_body(table: &Value, service: &Value) -> Vec<u8> {
    let Some(answer) = service.get("answer") else {
        return service["body"]
            .as_str()
            .unwrap_or_default()
            .as_bytes()
            .to_vec();
    };
    let mut answer = table["answers"][text(answer)].clone();
    for (name, value) in object(&service["with"]) {
        answer[name] = value.clone();
    }
    answer.to_string().into_bytes()
}

fn apply(headers: &mut Headers, mutations: Vec<HeaderMutation>) {
    for mutation in mutations {
        match mutation {
            HeaderMutation::Remove(name) => headers.retain(|(n, _)| *n != name),
            HeaderMutation::Set(name, value) => {
                headers.retain(|(n, _)| *n != name);
                headers.push((name.into_owned(), value));
            }
            HeaderMutation::Add(name, value) => headers.push((name.into_owned(), value)),
            HeaderMutation::Nonce(name) => {
                headers.retain(|(n, _)| *n != name);
                headers.push((name.to_owned(), b"{nonce}".into()));
            }
        }
    }
}

/// The result of a case.
enum End {
    Passed(Headers, Option<String>),
    Replied(LocalReply),
    /// A preflight, with the headers of its answer.
    Answered(Vec<(&'static str, String)>),
}

/// Runs one case; also returns the path and the body of its call.
fn run(table: &Value, case: &Value, config: &Config) -> (End, Option<(String, Value)>) {
    let mut headers = request(table, case);
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = headers
        .iter()
        .map(|(n, v)| (n.clone().into_bytes(), v.clone()))
        .collect();
    let pairs = pairs.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
    let (mutations, callout, pending) = match decide(config, &config.keys, WORKER, pairs).decision {
        Decision::Reply(reply) => return (End::Replied(reply), None),
        Decision::Preflight(headers) => return (End::Answered(headers), None),
        Decision::Pass(mutations) => {
            apply(&mut headers, mutations);
            return (End::Passed(headers, None), None);
        }
        Decision::Call {
            mutations,
            callout,
            pending,
        } => (mutations, callout, pending),
    };
    apply(&mut headers, mutations);
    let mut call: Value = serde_json::from_slice(&callout.body).unwrap();
    if let Some(gateway) = call.as_object_mut().unwrap().remove("gateway") {
        assert_eq!(gateway, WORKER.gateway);
    }
    let call = Some((callout.path.to_owned(), call));
    let service = &case["service"];
    let outcome = match service["failure"].as_str() {
        Some("cluster-missing") => pending.on_error(config, CallError::ClusterMissing),
        Some(_) => pending.on_error(config, CallError::Unreachable),
        None => {
            let status = u16::try_from(service["status"].as_u64().unwrap()).unwrap();
            let body = service_body(table, service);
            pending.on_response(config, &config.keys, &|_| false, status, &body)
        }
    };
    let end = match outcome {
        CallOutcome::Reply(reply) => End::Replied(reply),
        CallOutcome::Route {
            mutations,
            session_ref,
            ..
        } => {
            apply(&mut headers, mutations);
            End::Passed(headers, session_ref)
        }
    };
    (end, call)
}

fn expected_headers(table: &Value, case: &Value) -> Headers {
    let mut headers = request(table, case);
    let expected_headers = &case["passed"];
    headers.retain(|(name, _)| {
        !list(&expected_headers["gone"]).any(|removed| removed == name)
            && expected_headers["set"].get(name).is_none()
    });
    for (name, value) in object(&expected_headers["set"]) {
        match value {
            Value::Array(values) => {
                headers.extend(values.iter().map(|v| (name.clone(), bytes(text(v)))));
            }
            value => headers.push((name.clone(), bytes(text(value)))),
        }
    }
    headers.sort();
    headers
}

/// Browsers get a page, other clients get problem details.
fn check_body(name: &str, expected: &Value, reply: &LocalReply) {
    let reason = &expected["reason"];
    let is_page =
        |(name, value): &(&str, String)| *name == "content-type" && value.starts_with("text/html");
    if reply.headers.iter().any(is_page) {
        let page = String::from_utf8(reply.body.clone()).unwrap();
        let shown = format!("<code>{}</code>", text(reason));
        assert!(page.contains(&shown), "{name}: {page}");
        return;
    }
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["reason"], *reason, "{name}");
    assert_eq!(body["status"], expected["status"], "{name}");
    if let Some(detail) = expected.get("detail") {
        assert_eq!(body["detail"], *detail, "{name}");
    }
}

fn check_reply(name: &str, expected: &Value, reply: &LocalReply) {
    assert_eq!(json!(reply.status), expected["status"], "{name}");
    if let Some(reason) = expected.get("reason") {
        assert_eq!(reason, reply.reason.as_str(), "{name}");
        check_body(name, expected, reply);
    }
    check_reply_headers(name, expected, &reply.headers);
}

fn check_reply_headers(name: &str, expected: &Value, headers: &[(&'static str, String)]) {
    for (header, value) in object(&expected["headers"]) {
        let actual = headers.iter().find(|(n, _)| n == header);
        assert_eq!(
            actual.map(|(_, v)| v.as_str()),
            value.as_str(),
            "{name}: {header}"
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn every_case_ends_as_the_table_says() {
    let table = table();
    let mut reasons = BTreeSet::new();
    let mut cases_run = 0;
    for case in list(&table["cases"]) {
        let name = text(&case["name"]);
        let config = case["config"].as_str().unwrap_or("default");
        let config = table["configs"][config].to_string();
        let config = Config::parse(config.as_bytes(), &|_| None)
            .map_err(|errors| errors.to_string())
            .unwrap();
        let (end, call) = run(&table, case, &config);
        assert_eq!(
            call.is_some(),
            case.get("service").is_some(),
            "{name}: the callout"
        );
        if let (Some((path, body)), Some(callout)) = (&call, case.get("callout")) {
            assert_eq!(callout["path"], *path, "{name}");
            assert_eq!(callout["body"], *body, "{name}");
        }
        match end {
            End::Passed(mut headers, session_ref) => {
                assert!(case.get("passed").is_some(), "{name}: passed");
                headers.sort();
                assert_eq!(headers, expected_headers(&table, case), "{name}");
                if let Some(expected) = case["passed"].get("session_ref") {
                    assert_eq!(session_ref.as_deref(), expected.as_str(), "{name}");
                }
            }
            End::Answered(headers) => {
                assert_eq!(case["reply"]["status"], 204, "{name}");
                check_reply_headers(name, &case["reply"], &headers);
            }
            End::Replied(reply) => {
                assert!(case.get("reply").is_some(), "{name}: got {}", reply.status);
                check_reply(name, &case["reply"], &reply);
                reasons.insert(reply.reason.as_str());
            }
        }
        cases_run += 1;
    }
    assert_eq!(cases_run, table["cases"].as_array().unwrap().len());
    let missing: Vec<&str> = RejectReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        // Follows from an event, not from a request: the end-to-end tests of a drained Envoy cover it.
        .filter(|r| *r != RejectReason::GatewayDraining.as_str() && !reasons.contains(r))
        .collect();
    assert!(missing.is_empty(), "reasons without a case: {missing:?}");
}
