//! Which session a socket gets, and how long the session lives.

use crate::client::{
    SECRET, connect, connect_with_headers, options, start_engine, token, wait_until,
};
use berth_engine_sim::{Engine, Faults, Options, start};
use serde_json::json;
use std::time::{Duration, Instant};

const PATH: &str = "/app/engineData";

async fn connect_state(engine: &Engine, path: &str, user: &str, id: Option<&str>) -> String {
    let mut client = connect(engine.api_addr(), path, user, id).await;
    let state = client.read_state().await;
    client.close().await;
    state
}

#[tokio::test]
async fn the_header_names_the_session_independent_of_the_path() {
    let engine = start_engine().await;
    let mut first = connect(engine.api_addr(), "/app/x", "ann", Some("s1")).await;
    assert_eq!(first.read_state().await, "SESSION_CREATED");
    first.call(-1, "OpenDoc", json!(["a.qvf"])).await;
    let mut second = connect(engine.api_addr(), "/app/y", "ann", Some("s1")).await;
    assert_eq!(second.read_state().await, "SESSION_ATTACHED");
    let doc = second.call(-1, "GetActiveDoc", json!([])).await;
    assert_eq!(doc["result"]["qReturn"]["qGenericId"], "a.qvf");
    assert_eq!(
        connect_state(&engine, "/app/x", "ann", Some("s2")).await,
        "SESSION_CREATED"
    );
    let stats = engine.stats();
    assert_eq!((stats.created_total, stats.attached_total), (2, 1));
}

#[tokio::test]
async fn without_the_header_the_path_names_a_session_of_the_user() {
    let engine = start_engine().await;
    let mut first = connect(engine.api_addr(), "/app/mine?x=y", "ann", None).await;
    assert_eq!(first.read_state().await, "SESSION_CREATED");
    assert_eq!(
        connect_state(&engine, "/app/mine", "ann", None).await,
        "SESSION_ATTACHED"
    );
    assert_eq!(
        connect_state(&engine, "/app/mine/ttl/0", "ann", None).await,
        "SESSION_ATTACHED"
    );
    assert_eq!(
        connect_state(&engine, "/app/other", "ann", None).await,
        "SESSION_CREATED"
    );
    assert_eq!(
        connect_state(&engine, "/app/mine", "bob", None).await,
        "SESSION_CREATED"
    );
    assert_eq!(engine.sessions().len(), 1);
}

#[tokio::test]
async fn a_session_outlives_its_last_socket_by_its_ttl() {
    let engine = start_engine().await;
    let started_at = Instant::now();
    assert_eq!(
        connect_state(&engine, "/app/x/ttl/1", "ann", Some("s")).await,
        "SESSION_CREATED"
    );
    wait_until(|| engine.stats().waiting == 1).await;
    assert_eq!(engine.sessions()[0].ttl, 1);
    wait_until(|| engine.stats().sessions == 0).await;
    assert!(started_at.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        connect_state(&engine, PATH, "ann", Some("s")).await,
        "SESSION_CREATED"
    );
    wait_until(|| engine.stats().sessions == 0).await;
}

#[tokio::test]
async fn another_user_gets_an_error_state_and_a_close() {
    let engine = start_engine().await;
    let _one = connect(engine.api_addr(), PATH, "ann", Some("s")).await;
    let mut other = connect(engine.api_addr(), PATH, "bob", Some("s")).await;
    assert_eq!(
        other.read_state().await,
        "SESSION_ERROR_SECURITY_HEADER_CHANGED"
    );
    assert_eq!(other.next_message().await, None);
    assert_eq!(engine.sessions()[0].user, "ann");
}

#[tokio::test]
async fn the_maximum_number_of_sessions_holds() {
    let faults = Faults {
        max_sessions: Some(1),
        ..Faults::default()
    };
    let engine = start(Options {
        faults,
        ..options()
    })
    .await
    .unwrap();
    let mut first = connect(engine.api_addr(), PATH, "ann", Some("s")).await;
    assert_eq!(first.read_state().await, "SESSION_CREATED");
    assert_eq!(
        connect_state(&engine, PATH, "ann", Some("s")).await,
        "SESSION_ATTACHED"
    );
    assert_eq!(
        connect_state(&engine, PATH, "ann", Some("t")).await,
        "SESSION_ERROR_LIMIT_EXCEEDED"
    );
    first.close().await;
    wait_until(|| engine.stats().sessions == 0).await;
    assert_eq!(
        connect_state(&engine, PATH, "ann", Some("t")).await,
        "SESSION_CREATED"
    );
}

#[tokio::test]
async fn a_token_is_needed_and_checked() {
    let engine = start_engine().await;
    for (authorization, state) in [
        (None, "SESSION_ERROR_JWT_TOKEN_MISSING"),
        (Some("Bearer a.b.c"), "SESSION_ERROR_JWT_TOKEN_INVALID"),
        (Some(SECRET), "SESSION_ERROR_JWT_TOKEN_INVALID"),
    ] {
        let headers: Vec<_> = authorization
            .map(|value| ("authorization", value))
            .into_iter()
            .collect();
        let mut client = connect_with_headers(engine.api_addr(), PATH, &headers)
            .await
            .unwrap();
        assert_eq!(client.read_state().await, state);
        assert_eq!(client.next_message().await, None);
    }
    assert_eq!(engine.stats().created_total, 0);
}

#[tokio::test]
async fn the_latest_upgrades_are_kept_with_every_header() {
    let engine = start_engine().await;
    let token = format!("Bearer {}", token("ann"));
    let headers = [
        ("authorization", token.as_str()),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ];
    let mut client = connect_with_headers(engine.api_addr(), "/app/x?q", &headers)
        .await
        .unwrap();
    client.read_state().await;
    let upgrades = engine.upgrades();
    assert_eq!(upgrades.total, 1);
    let latest = &upgrades.latest[0];
    assert_eq!(latest.path, "/app/x?q");
    assert_eq!(latest.outcome, "SESSION_CREATED");
    assert_eq!(latest.header("Authorization").next(), Some(token.as_str()));
    assert_eq!(latest.header("cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
}
