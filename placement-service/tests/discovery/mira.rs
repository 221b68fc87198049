//! Mira discovery: changes and failures of the Mira server.

use crate::{format_engines, is_quiet, next_list, next_list_after_faults};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use berth_placement::config::MiraSource;
use berth_placement::engines::discovery::mira::Mira;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type SharedResponse = Arc<Mutex<(StatusCode, String)>>;

async fn start_mira(answer: SharedResponse) -> String {
    let engines = get(move || async move { answer.lock().unwrap().clone() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/engines", engines);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn engine(ip: &str, kubernetes: Value) -> Value {
    json!({
        "engine": {
            "networks": [{"name": "app", "ip": ip}], "port": 9076, "metricsPort": 9090,
            "status": "OK", "health": {"saturated": false}, "metrics": [], "labels": {"qix-engine": ""}
        },
        "kubernetes": kubernetes
    })
}

#[tokio::test]
async fn changes_and_failures_of_mira_are_reported() {
    let first = json!([engine("10.0.0.2", json!({})), engine("10.0.0.1", json!({}))]);
    let answer = SharedResponse::new(Mutex::new((StatusCode::OK, first.to_string())));
    let url = start_mira(answer.clone()).await;
    let mut mira = Mira::new(&MiraSource {
        url,
        network: None,
        poll: Duration::from_millis(20),
    });
    let two = ["10.0.0.1-9076@10.0.0.1:9076", "10.0.0.2-9076@10.0.0.2:9076"];
    assert_eq!(format_engines(&next_list(&mut mira).await.unwrap()), two);
    // Another order is not an update.
    let other = json!([engine("10.0.0.1", json!({})), engine("10.0.0.2", json!({}))]);
    answer.lock().unwrap().1 = other.to_string();
    assert!(is_quiet(&mut mira).await);
    answer.lock().unwrap().0 = StatusCode::BAD_GATEWAY;
    let fault = next_list(&mut mira).await.unwrap_err().to_string();
    assert!(fault.contains("502"), "{fault}");
    *answer.lock().unwrap() = (StatusCode::OK, "<html>".into());
    assert!(next_list(&mut mira).await.is_err());
    let pod = json!({"pod": {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}});
    answer.lock().unwrap().1 = json!([engine("10.0.0.1", pod)]).to_string();
    assert_eq!(
        format_engines(&next_list_after_faults(&mut mira).await),
        ["10.0.0.1-9076@10.0.0.1:9076!"]
    );
}

/// A Mira that has just started may not know its engines yet, so an empty list counts only when it repeats.
#[tokio::test]
async fn an_empty_list_from_mira_counts_after_the_second_poll() {
    let one = json!([engine("10.0.0.1", json!({}))]).to_string();
    let answer = SharedResponse::new(Mutex::new((StatusCode::OK, one.clone())));
    let mut mira = Mira::new(&MiraSource {
        url: start_mira(answer.clone()).await,
        network: None,
        poll: Duration::from_millis(500),
    });
    let found = next_list(&mut mira).await.unwrap();
    answer.lock().unwrap().0 = StatusCode::BAD_GATEWAY;
    next_list(&mut mira).await.unwrap_err();
    *answer.lock().unwrap() = (StatusCode::OK, "[]".into());
    assert!(is_quiet(&mut mira).await);
    answer.lock().unwrap().1 = one;
    // Two polls pass since the previous answer.
    let started_at = tokio::time::Instant::now();
    assert_eq!(next_list(&mut mira).await.unwrap(), found);
    answer.lock().unwrap().1 = "[]".into();
    assert_eq!(next_list(&mut mira).await.unwrap(), []);
    assert!(started_at.elapsed() >= Duration::from_millis(1000));
}

#[tokio::test]
async fn an_unreachable_mira_is_a_fault() {
    let mut mira = Mira::new(&MiraSource {
        url: "http://127.0.0.1:1".into(),
        network: None,
        poll: Duration::from_millis(20),
    });
    let fault = next_list(&mut mira).await.unwrap_err().to_string();
    assert!(fault.contains("127.0.0.1:1/v1/engines"), "{fault}");
}
