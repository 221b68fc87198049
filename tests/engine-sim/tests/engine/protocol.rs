//! JSON-RPC over text frames.

use crate::client::{Client, connect, start_engine};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

async fn connect_client(engine: &berth_engine_sim::Engine) -> Client {
    let mut client = connect(engine.api_addr(), "/app/engineData", "ann", None).await;
    assert_eq!(client.read_state().await, "SESSION_CREATED");
    client
}

#[tokio::test]
async fn the_global_handle_reports_version_documents_and_no_open_document() {
    let engine = start_engine().await;
    let mut client = connect_client(&engine).await;
    let answer = client.call(-1, "EngineVersion", json!([])).await;
    assert_eq!(
        answer["result"]["qVersion"]["qComponentVersion"],
        "12.2027.0"
    );
    let answer = client.call(-1, "GetDocList", json!([])).await;
    assert_eq!(answer["result"]["qDocList"][1]["qDocName"], "b.qvf");
    let answer = client.call(-1, "GetActiveDoc", json!([])).await;
    assert_eq!(answer["result"]["qReturn"]["qHandle"], Value::Null);
    let answer = client.call(1, "GetAppLayout", json!([])).await;
    assert_eq!(answer["error"]["code"], -32_602);
}

#[tokio::test]
async fn a_document_opens_by_name_or_position_with_or_without_its_folder() {
    let engine = start_engine().await;
    for params in [
        json!({"qDocName": "a.qvf"}),
        json!(["/doc/a.qvf"]),
        json!({"qDocName": "/doc/a.qvf", "qNoData": false}),
    ] {
        let mut client = connect_client(&engine).await;
        let answer = client.call(-1, "OpenDoc", params).await;
        let doc = json!({"qType": "Doc", "qHandle": 1, "qGenericId": "a.qvf"});
        assert_eq!(answer["result"]["qReturn"], doc);
        let answer = client.call(-1, "GetActiveDoc", json!({})).await;
        assert_eq!(answer["result"]["qReturn"], doc);
        let answer = client.call(1, "GetAppLayout", json!({})).await;
        assert_eq!(answer["result"]["qLayout"]["qTitle"], "a");
        client.close().await;
    }
    assert_eq!(engine.stats().docs, ["a.qvf"]);
}

#[tokio::test]
async fn a_session_has_one_app() {
    let engine = start_engine().await;
    let mut client = connect_client(&engine).await;
    client.call(-1, "OpenDoc", json!(["a.qvf"])).await;
    let second_open = client.call(-1, "OpenDoc", json!(["a.qvf"])).await;
    assert_eq!(second_open["result"]["qReturn"]["qHandle"], 1);
    let other = client.call(-1, "OpenDoc", json!(["b.qvf"])).await;
    assert_eq!(other["error"]["code"], 1002);
    let other = client.call(-1, "CreateSessionApp", json!([])).await;
    assert_eq!(other["error"]["code"], 1002);
}

#[tokio::test]
async fn each_session_app_has_its_own_identifier() {
    let engine = start_engine().await;
    let mut ids = Vec::new();
    for user in ["ann", "bob"] {
        let mut client = connect(engine.api_addr(), "/app/engineData", user, None).await;
        client.read_state().await;
        let result = client.call(-1, "CreateSessionApp", json!([])).await["result"].take();
        assert_eq!(result["qReturn"]["qHandle"], 1);
        assert_eq!(result["qSessionAppId"], result["qReturn"]["qGenericId"]);
        ids.push(result["qSessionAppId"].as_str().unwrap().to_owned());
    }
    assert_ne!(ids[0], ids[1]);
    assert!(engine.stats().docs.is_empty());
}

#[tokio::test]
async fn errors_have_the_codes_of_the_engine() {
    let engine = start_engine().await;
    let mut client = connect_client(&engine).await;
    let answer = client.call(-1, "OpenDoc", json!(["nope.qvf"])).await;
    let error = json!({"code": 1003, "parameter": "nope.qvf", "message": "App not found"});
    assert_eq!(answer["error"], error);
    let answer = client.call(-1, "OpenDoc", json!({"qDocName": 7})).await;
    assert_eq!(answer["error"]["code"], -32_602);
    let answer = client.call(-1, "MakeCoffee", json!([])).await;
    assert_eq!(answer["error"]["code"], -32_601);
    let answer = client.call(9, "GetLayout", json!([])).await;
    assert_eq!(answer["error"]["code"], -32_602);
}

#[tokio::test]
async fn junk_gets_an_error_and_the_socket_stays_open() {
    let engine = start_engine().await;
    let mut client = connect_client(&engine).await;
    for (junk, code) in [("{", -32_700), ("[]", -32_600), (r#"{"id":1}"#, -32_600)] {
        client.send(Message::text(junk)).await;
        let answer = client.next_json().await;
        assert_eq!(answer["error"]["code"], code, "{junk}");
        assert_eq!(answer["id"], Value::Null);
    }
    let notification = r#"{"jsonrpc":"2.0","handle":-1,"method":"EngineVersion"}"#;
    client.send(Message::text(notification)).await;
    let answer = client.call(-1, "EngineVersion", json!([])).await;
    assert!(
        answer["result"].is_object(),
        "the notification has no answer"
    );
}
