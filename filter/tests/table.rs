//! The case table (`tests/fixtures/filter/cases.json`) through the core, natively and on
//! `wasm32-unknown-unknown`. `tests/wasm` runs the same table through the built module.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use berth_filter::config::Config;
use berth_filter::flow;
use berth_filter::rejection::Cause;
use berth_filter::step::{Change, Failure, Outcome, Reply, Step};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use wasm_bindgen_test::wasm_bindgen_test;

type Headers = Vec<(String, Vec<u8>)>;

const CASES: &str = include_str!("../../tests/fixtures/filter/cases.json");
const TOKENS: &str = include_str!("../../tests/fixtures/filter/tokens.json");

/// The table with its tokens and keys in place.
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

fn apply(headers: &mut Headers, changes: Vec<Change>) {
    for change in changes {
        match change {
            Change::Remove(name) => headers.retain(|(n, _)| *n != name),
            Change::Set(name, value) => {
                headers.retain(|(n, _)| *n != name);
                headers.push((name.into_owned(), value));
            }
            Change::Add(name, value) => headers.push((name.into_owned(), value)),
            Change::Nonce(name) => {
                headers.retain(|(n, _)| *n != name);
                headers.push((name.to_owned(), b"{nonce}".into()));
            }
        }
    }
}

/// How a case ended.
enum End {
    Passed(Headers, Option<String>),
    Replied(Reply),
}

/// Runs one case; also says what the callout asked.
fn run(table: &Value, case: &Value, config: &Config) -> (End, Option<(String, Value)>) {
    let mut headers = request(table, case);
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = headers
        .iter()
        .map(|(n, v)| (n.clone().into_bytes(), v.clone()))
        .collect();
    let pairs = pairs.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
    let (changes, callout, waiting) = match flow::start(config, &config.keys, pairs).step {
        Step::Reply(reply) => return (End::Replied(reply), None),
        Step::Pass(changes) => {
            apply(&mut headers, changes);
            return (End::Passed(headers, None), None);
        }
        Step::Call {
            changes,
            callout,
            waiting,
        } => (changes, callout, waiting),
    };
    apply(&mut headers, changes);
    let asked = serde_json::from_slice(&callout.body).unwrap();
    let asked = Some((callout.path.to_owned(), asked));
    let service = &case["service"];
    let outcome = match service["failure"].as_str() {
        Some("cluster-missing") => waiting.on_failure(config, Failure::ClusterMissing),
        Some(_) => waiting.on_failure(config, Failure::Unreachable),
        None => {
            let status = u16::try_from(service["status"].as_u64().unwrap()).unwrap();
            let body = service_body(table, service);
            waiting.on_reply(config, &config.keys, &|_| false, status, &body)
        }
    };
    let end = match outcome {
        Outcome::Reply(reply) => End::Replied(reply),
        Outcome::Route {
            changes,
            session_ref,
            ..
        } => {
            apply(&mut headers, changes);
            End::Passed(headers, session_ref)
        }
    };
    (end, asked)
}

fn expected_headers(table: &Value, case: &Value) -> Headers {
    let mut headers = request(table, case);
    let passed = &case["passed"];
    headers.retain(|(name, _)| {
        !list(&passed["gone"]).any(|gone| gone == name) && passed["set"].get(name).is_none()
    });
    for (name, value) in object(&passed["set"]) {
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

fn check_reply(name: &str, expected: &Value, reply: &Reply) {
    assert_eq!(json!(reply.status), expected["status"], "{name}");
    if let Some(reason) = expected.get("reason") {
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["reason"], *reason, "{name}");
        assert_eq!(body["status"], expected["status"], "{name}");
        assert_eq!(reason, reply.cause.reason(), "{name}");
        if let Some(detail) = expected.get("detail") {
            assert_eq!(body["detail"], *detail, "{name}");
        }
    }
    for (header, value) in object(&expected["headers"]) {
        let sent = reply.headers.iter().find(|(n, _)| n == header);
        assert_eq!(
            sent.map(|(_, v)| v.as_str()),
            value.as_str(),
            "{name}: {header}"
        );
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn every_case_ends_as_the_table_says() {
    let table = table();
    let mut causes = BTreeSet::new();
    let mut ran = 0;
    for case in list(&table["cases"]) {
        let name = text(&case["name"]);
        let config = case["config"].as_str().unwrap_or("default");
        let config = table["configs"][config].to_string();
        let config = Config::parse(config.as_bytes(), &|_| None)
            .map_err(|f| f.to_string())
            .unwrap();
        let (end, asked) = run(&table, case, &config);
        assert_eq!(
            asked.is_some(),
            case.get("service").is_some(),
            "{name}: the callout"
        );
        if let (Some((path, body)), Some(callout)) = (&asked, case.get("callout")) {
            assert_eq!(callout["path"], *path, "{name}");
            assert_eq!(callout["body"], *body, "{name}");
        }
        match end {
            End::Passed(mut headers, session_ref) => {
                assert!(case.get("passed").is_some(), "{name}: went on");
                headers.sort();
                assert_eq!(headers, expected_headers(&table, case), "{name}");
                if let Some(expected) = case["passed"].get("session_ref") {
                    assert_eq!(session_ref.as_deref(), expected.as_str(), "{name}");
                }
            }
            End::Replied(reply) => {
                assert!(case.get("reply").is_some(), "{name}: got {}", reply.status);
                check_reply(name, &case["reply"], &reply);
                causes.insert(reply.cause.reason());
            }
        }
        ran += 1;
    }
    assert_eq!(ran, table["cases"].as_array().unwrap().len());
    let missing: Vec<&str> = Cause::ALL
        .iter()
        .map(|c| c.reason())
        .filter(|r| !causes.contains(r))
        .collect();
    assert!(missing.is_empty(), "refusals without a case: {missing:?}");
}
