//! The golden bodies: both sides read and write exactly these.

use super::*;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn golden<T: Serialize + DeserializeOwned>(text: &str) -> Value {
    let typed: T = serde_json::from_str(text).unwrap();
    let serialised = serde_json::to_value(&typed).unwrap();
    assert_eq!(serialised, serde_json::from_str::<Value>(text).unwrap());
    serialised
}

#[test]
fn bodies_survive_a_round_trip() {
    golden::<PlacementRequest>(include_str!(
        "../../../tests/fixtures/contract/placement_request.json"
    ));
    golden::<PlacementRequest>(include_str!(
        "../../../tests/fixtures/contract/placement_request_bearer.json"
    ));
    golden::<PlacementRequest>(include_str!(
        "../../../tests/fixtures/contract/placement_request_plain.json"
    ));
    golden::<PlacementAnswer>(include_str!(
        "../../../tests/fixtures/contract/placement_answer.json"
    ));
    golden::<PlacementAnswer>(include_str!(
        "../../../tests/fixtures/contract/placement_answer_affinity.json"
    ));
    golden::<TokenRequest>(include_str!(
        "../../../tests/fixtures/contract/token_request.json"
    ));
    golden::<TokenRequest>(include_str!(
        "../../../tests/fixtures/contract/token_request_bearer.json"
    ));
    golden::<TokenAnswer>(include_str!(
        "../../../tests/fixtures/contract/token_answer.json"
    ));
    golden::<GatewayReport>(include_str!(
        "../../../tests/fixtures/contract/gateway_report.json"
    ));
    golden::<GatewayReport>(include_str!(
        "../../../tests/fixtures/contract/gateway_full_list.json"
    ));
    golden::<GatewayAnswer>(include_str!(
        "../../../tests/fixtures/contract/gateway_answer.json"
    ));
    golden::<Problem>(include_str!(
        "../../../tests/fixtures/contract/problem.json"
    ));
}

#[test]
fn unknown_fields_are_ignored() {
    let text = r#"{"session":"s","colour":"blue"}"#;
    assert!(serde_json::from_str::<TokenRequest>(text).is_ok());
}

#[test]
fn bodies_without_affinity_are_those_of_older_versions() {
    let request = r#"{"session":"s","method":"GET","path":"/a","host":"h"}"#;
    let request: PlacementRequest = serde_json::from_str(request).unwrap();
    assert!(request.upgrade && request.gateway.is_none());
    let plain =
        r#"{"session":"s","method":"GET","upgrade":false,"path":"/a","host":"h","colour":"blue"}"#;
    let plain: PlacementRequest = serde_json::from_str(plain).unwrap();
    assert!(!plain.upgrade);
    let answer = include_str!("../../../tests/fixtures/contract/placement_answer.json");
    let answer: PlacementAnswer = serde_json::from_str(answer).unwrap();
    assert_eq!(answer.affinity, None);
    let scope = r#"{"key":"k","epoch":1,"scope":{"prefix":"/a","colour":"blue"},"valid_ms":1,"colour":"blue"}"#;
    let affinity: KeyAffinity = serde_json::from_str(scope).unwrap();
    assert_eq!(affinity.scope.host, None);
    assert!(!affinity.scope.exact);
}

#[test]
fn an_event_of_an_unknown_type_is_accepted() {
    let text = r#"{"cursor":"c","events":[{"type":"painted","colour":"blue"}]}"#;
    let answer: GatewayAnswer = serde_json::from_str(text).unwrap();
    assert_eq!(answer.events, [GatewayEvent::Unknown]);
}

#[test]
fn an_unknown_reason_of_a_session_end_is_read_as_revoked() {
    let parse_end = |reason: &str| {
        let event = format!(r#"{{"type":"session-ended","session_ref":"r","reason":{reason}}}"#);
        let text = format!(r#"{{"cursor":"c","events":[{event}]}}"#);
        let answer = serde_json::from_str::<GatewayAnswer>(&text);
        answer.map(|mut answer| answer.events.remove(0))
    };
    for (text_reason, reason) in [
        ("\"expired\"", CloseReason::Expired),
        ("\"bored\"", CloseReason::Revoked),
    ] {
        let session_ref = "r".to_owned();
        let expected = GatewayEvent::SessionEnded {
            session_ref,
            reason,
        };
        assert_eq!(parse_end(text_reason).unwrap(), expected);
    }
    assert!(parse_end("7").is_err());
}

#[test]
fn close_reasons_serialise_as_their_constant() {
    for reason in CloseReason::ALL {
        assert_eq!(
            serde_json::to_value(reason).unwrap(),
            Value::from(reason.as_str())
        );
    }
}

#[test]
fn reasons_are_unique_and_serialise_as_their_constant() {
    for reason in RejectReason::ALL {
        assert_eq!(
            serde_json::to_value(reason).unwrap(),
            Value::from(reason.as_str())
        );
        let same_text = RejectReason::ALL
            .iter()
            .filter(|r| r.as_str() == reason.as_str());
        assert_eq!(same_text.count(), 1);
    }
}

#[test]
fn the_streams_of_a_key_close_at_its_share_of_a_drain() {
    for (key, delay_ms) in [
        ("AAAAAAAAAAAAA", 0),
        ("gAAAAAAAAA", 500),
        ("QAAA", 250),
        ("__________x", 999),
        ("", 0),
    ] {
        assert_eq!(drain_delay_ms(key, 1000), delay_ms, "{key}");
    }
    assert_eq!(drain_delay_ms("_______________", 0), 0);
}
