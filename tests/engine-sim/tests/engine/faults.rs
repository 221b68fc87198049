//! Each fault does what its name says, and ends when it is switched off.

use crate::client::{
    TIMEOUT, connect, connect_with_headers, get_json, send_http, start_engine, token,
};
use berth_engine_sim::{Engine, Faults, WrongJson};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::tungstenite::Message;

/// Long enough to show that no answer comes over loopback.
const SILENCE: Duration = Duration::from_millis(100);

async fn connect_state(engine: &Engine) -> String {
    connect(engine.api_addr(), "/app/x", "ann", None)
        .await
        .read_state()
        .await
}

#[tokio::test]
async fn refuse_closes_the_port_and_opens_it_again() {
    let engine = start_engine().await;
    let mut live = connect(engine.api_addr(), "/app/live", "ann", None).await;
    live.read_state().await;
    engine.faults().set(|faults| faults.refuse = true);
    let refused = async { while TcpStream::connect(engine.api_addr()).await.is_ok() {} };
    timeout(TIMEOUT, refused).await.unwrap();
    live.send(Message::binary("still there")).await;
    assert_eq!(
        live.next_message().await,
        Some(Message::binary("still there"))
    );
    engine.faults().clear();
    let accepted = async { while TcpStream::connect(engine.api_addr()).await.is_err() {} };
    timeout(TIMEOUT, accepted).await.unwrap();
    assert_eq!(connect_state(&engine).await, "SESSION_CREATED");
}

#[tokio::test]
async fn stall_accepts_connections_and_answers_only_after_it_ends() {
    let engine = start_engine().await;
    engine.faults().set(|faults| faults.stall = true);
    let health = send_http(engine.api_addr(), "GET", "/healthcheck", "");
    tokio::pin!(health);
    let socket = connect_state(&engine);
    tokio::pin!(socket);
    assert!(timeout(SILENCE, &mut health).await.is_err());
    assert!(timeout(SILENCE, &mut socket).await.is_err());
    get_json(engine.metrics_addr(), "/admin/stats").await;
    engine.faults().clear();
    assert_eq!(health.await.0, 200);
    assert_eq!(socket.await, "SESSION_CREATED");
}

#[tokio::test]
async fn stall_websocket_does_not_affect_the_health_check() {
    let engine = start_engine().await;
    engine.faults().set(|faults| faults.stall_websocket = true);
    assert!(timeout(SILENCE, connect_state(&engine)).await.is_err());
    get_json(engine.api_addr(), "/healthcheck").await;
}

#[tokio::test]
async fn slow_answers_are_late_by_the_set_time() {
    let engine = start_engine().await;
    engine.faults().set(|faults| faults.slow_connect_ms = 150);
    let started_at = Instant::now();
    let mut client = connect(engine.api_addr(), "/app/x", "ann", None).await;
    assert!(started_at.elapsed() >= Duration::from_millis(150));
    client.read_state().await;
    engine.faults().set(|faults| faults.slow_open_ms = 500);
    let started_at = Instant::now();
    client.call(-1, "EngineVersion", json!([])).await;
    assert!(started_at.elapsed() < Duration::from_millis(500));
    client.call(-1, "OpenDoc", json!(["a.qvf"])).await;
    assert!(started_at.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn die_closes_all_sockets_and_ports() {
    let mut engine = start_engine().await;
    let mut live = connect(engine.api_addr(), "/app/x", "ann", None).await;
    live.read_state().await;
    let answer = send_http(
        engine.metrics_addr(),
        "POST",
        "/admin/faults",
        r#"{"die":true}"#,
    );
    // The dying engine may answer or not.
    let (_, ()) = tokio::join!(timeout(TIMEOUT, answer), engine.wait_until_dead());
    assert_eq!(live.next_message().await, None);
    assert!(TcpStream::connect(engine.api_addr()).await.is_err());
    assert!(TcpStream::connect(engine.metrics_addr()).await.is_err());
}

#[tokio::test]
async fn no_metrics_gives_404_and_saturated_is_reported() {
    let engine = start_engine().await;
    let change = r#"{"no_metrics":true,"saturated":true}"#;
    let (status, _) = send_http(engine.metrics_addr(), "POST", "/admin/faults", change).await;
    assert_eq!(status, 200);
    assert_eq!(
        send_http(engine.metrics_addr(), "GET", "/metrics", "")
            .await
            .0,
        404
    );
    let health = get_json(engine.api_addr(), "/healthcheck").await;
    assert_eq!(health["saturated"], json!(true));
    send_http(engine.metrics_addr(), "DELETE", "/admin/faults", "").await;
    assert_eq!(engine.faults().get(), Faults::default());
}

#[tokio::test]
async fn wrong_json_is_wrong_in_three_ways() {
    let engine = start_engine().await;
    let mut bodies = Vec::new();
    for wrong_json in [WrongJson::Junk, WrongJson::Types, WrongJson::Empty] {
        engine
            .faults()
            .set(|faults| faults.wrong_json = Some(wrong_json));
        bodies.push(
            send_http(engine.api_addr(), "GET", "/healthcheck", "")
                .await
                .1,
        );
    }
    assert!(serde_json::from_str::<Value>(&bodies[0]).is_err());
    let types: Value = serde_json::from_str(&bodies[1]).unwrap();
    assert!(types["mem"].is_string() && types["saturated"].is_string());
    assert_eq!(bodies[2], "{}");
}

#[tokio::test]
async fn sockets_can_begin_with_an_error_state_or_junk() {
    let engine = start_engine().await;
    engine.faults().set(|faults| faults.no_license = true);
    let mut client = connect(engine.api_addr(), "/app/x", "ann", None).await;
    assert_eq!(client.read_state().await, "SESSION_ERROR_NO_LICENSE");
    assert_eq!(client.next_message().await, None);
    engine.faults().clear();
    engine.faults().set(|faults| faults.reject_jwt = true);
    assert_eq!(
        connect_state(&engine).await,
        "SESSION_ERROR_JWT_TOKEN_INVALID"
    );
    engine.faults().clear();
    engine.faults().set(|faults| faults.wrong_frames = true);
    let mut client = connect(engine.api_addr(), "/app/x", "ann", None).await;
    let hello = client.next_message().await.unwrap();
    assert!(serde_json::from_str::<Value>(hello.to_text().unwrap()).is_err());
}

#[tokio::test]
async fn an_unknown_fault_is_refused_by_its_name() {
    let engine = start_engine().await;
    for change in [r#"{"stal":true}"#, r#"{"stall":"yes"}"#, "[]", "{"] {
        let (status, body) =
            send_http(engine.metrics_addr(), "POST", "/admin/faults", change).await;
        assert!((400..500).contains(&status), "{change}: {status} {body}");
    }
    assert_eq!(engine.faults().get(), Faults::default());
}

#[tokio::test]
async fn a_websocket_outside_app_is_refused() {
    let engine = start_engine().await;
    let token = format!("Bearer {}", token("ann"));
    let headers = [("authorization", token.as_str())];
    let result = connect_with_headers(engine.api_addr(), "/apps/x", &headers).await;
    assert!(result.is_err());
    assert_eq!(engine.upgrades().latest[0].outcome, "404");
}
