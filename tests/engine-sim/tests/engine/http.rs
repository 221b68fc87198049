//! Health check, metrics and the admin interface.

use crate::client::{connect, get_json, options, send_http, start_engine, wait_until};
use berth_engine_sim::{Options, start};
use serde_json::json;
use std::time::{Duration, Instant};

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().unwrap()
}

#[tokio::test]
async fn health_follows_sessions_sockets_and_documents() {
    let options = Options {
        session_kb: 1_024,
        full_cpu_sockets: 4,
        ..options()
    };
    let engine = start(options).await.unwrap();
    let before = get_json(engine.api_addr(), "/healthcheck").await;
    assert_eq!(before["apps"]["in_memory_docs"], json!([]));
    assert_eq!(before["saturated"], json!(false));
    let mut clients = Vec::new();
    for id in ["s", "t"] {
        let mut client = connect(engine.api_addr(), "/app/x/ttl/30", "ann", Some(id)).await;
        client.read_state().await;
        client.call(-1, "OpenDoc", json!(["a.qvf"])).await;
        clients.push(client);
    }
    let during = get_json(engine.api_addr(), "/healthcheck").await;
    let grown = |now: &serde_json::Value| {
        number(&now["mem"]["committed"]) - number(&before["mem"]["committed"])
    };
    assert!(
        (grown(&during) - 72.0).abs() < 0.01,
        "two sessions, one document: {during}"
    );
    let used_mb = number(&before["mem"]["free"]) - number(&during["mem"]["free"]);
    assert!((used_mb - 72.0).abs() < 0.01);
    assert!((number(&during["cpu"]["total"]) - 0.5).abs() < 0.01);
    assert_eq!(during["session"], json!({"active": 2, "total": 2}));
    assert_eq!(during["users"], json!({"active": 1, "total": 1}));
    for docs in ["active_docs", "loaded_docs", "in_memory_docs"] {
        assert_eq!(during["apps"][docs], json!(["a.qvf"]), "{docs}");
    }
    for client in clients {
        client.close().await;
    }
    wait_until(|| engine.stats().sockets == 0).await;
    let after = get_json(engine.api_addr(), "/healthcheck").await;
    assert_eq!(after["session"]["active"], 2);
    assert_eq!(after["apps"]["active_docs"], json!([]));
    assert_eq!(after["apps"]["loaded_docs"], json!(["a.qvf"]));
}

#[tokio::test]
async fn the_first_open_of_a_document_waits_for_its_load() {
    let engine = start(Options {
        load_ms: 200,
        ..options()
    })
    .await
    .unwrap();
    let mut durations = Vec::new();
    for id in ["s", "t"] {
        let mut client = connect(engine.api_addr(), "/app/x", "ann", Some(id)).await;
        client.read_state().await;
        let started_at = Instant::now();
        client.call(-1, "OpenDoc", json!(["a.qvf"])).await;
        durations.push(started_at.elapsed());
    }
    assert!(durations[0] >= Duration::from_millis(200));
    assert!(durations[1] < durations[0]);
}

#[tokio::test]
async fn metrics_have_the_engines_families() {
    let engine = start_engine().await;
    let mut client = connect(engine.api_addr(), "/app/x", "ann", None).await;
    client.read_state().await;
    client.call(-1, "OpenDoc", json!(["a.qvf"])).await;
    let (status, page) = send_http(engine.metrics_addr(), "GET", "/metrics", "").await;
    assert_eq!(status, 200);
    for line in [
        "qix_active_sessions 1",
        "qix_sessions_total 1",
        "qix_active_documents 1",
        "qix_documents_total 1",
        "qix_active_requests 0",
        "qix_requests_total 1",
        "qix_request_duration_seconds_count 1",
        "qix_cache_memory_bytes 0",
        "qix_build_info{version=\"12.2027.0\"} 1",
        "# TYPE qix_sessions_total counter",
    ] {
        assert!(page.lines().any(|have| have == line), "{line} in {page}");
    }
}

#[tokio::test]
async fn the_admin_interface_reports_the_same_as_the_library() {
    let engine = start_engine().await;
    let mut client = connect(engine.api_addr(), "/app/x/ttl/7", "ann", Some("s")).await;
    client.read_state().await;
    let admin = engine.metrics_addr();
    let to_json = |value| serde_json::to_value(value).unwrap();
    assert_eq!(
        get_json(admin, "/admin/stats").await,
        to_json(&engine.stats())
    );
    let upgrades = serde_json::to_value(engine.upgrades()).unwrap();
    assert_eq!(get_json(admin, "/admin/upgrades").await, upgrades);
    let session = json!([{"id": "s", "user": "ann", "sockets": 1, "ttl": 7, "app": null}]);
    assert_eq!(get_json(admin, "/admin/sessions").await, session);
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let engine = start_engine().await;
    assert_eq!(send_http(engine.api_addr(), "GET", "/", "").await.0, 404);
    assert_eq!(
        send_http(engine.api_addr(), "GET", "/app/x", "").await.0,
        404
    );
    assert_eq!(
        send_http(engine.api_addr(), "POST", "/healthcheck", "")
            .await
            .0,
        404
    );
    assert_eq!(
        send_http(engine.metrics_addr(), "GET", "/healthcheck", "")
            .await
            .0,
        404
    );
}
