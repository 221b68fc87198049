//! `POST /v1/placements` with simulated engines: the whole way from a cookie to an engine session.

use crate::site::Site;
use berth_api::PlacementAnswer;
use berth_engine_sim::{Document, Engine, Options};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// One engine that wants the site's tokens, and a site that knows it.
async fn site() -> (Site, Engine) {
    let engine = berth_engine_sim::start(Options {
        jwt_secret: Some("k".repeat(40)),
        documents: vec![Document::new("sales.qvf", 100)],
        ..Options::default()
    })
    .await
    .unwrap();
    let site = Site::start(&format!(
        "pools:
  - name: qix
    driver: qix
    cluster: engines
    discovery:
      fixed:
        - {{ name: engine-0, ip: 127.0.0.1, port: {}, metrics_port: {} }}
routes:
  - {{ path: \"/app/{{document}}\", pool: qix, open: {{ document: \"{{document}}\" }} }}
",
        engine.api_addr().port(),
        engine.metrics_addr().port()
    ))
    .await;
    until("the service is ready", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
    (site, engine)
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, wait).await.is_ok(), "never: {what}");
}

fn body(session: &str, path: &str) -> String {
    json!({"session": session, "method": "GET", "path": path, "host": "h", "tab": "t1"}).to_string()
}

async fn reservations(site: &Site) -> String {
    let metrics = site.get("/metrics", "").await.text;
    let line = metrics
        .lines()
        .find(|l| l.starts_with("berth_engine_reservations{"));
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_cookie_becomes_an_engine_session_with_the_users_token() {
    let (site, engine) = site().await;
    let id = site.login().await;
    let answer = site
        .post_json("/v1/placements", body(&id, "/app/sales.qvf"))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let placed: PlacementAnswer = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(placed.destination, Some(engine.api_addr().to_string()));
    let session = engine.sessions().remove(0);
    assert_eq!(session.user, "demo");
    assert_eq!(session.id, placed.set_headers["x-qlik-session"]);
    assert_eq!(json!(placed.token), site.token(&id).await.json()["token"]);

    let own = site
        .get("/session/placements", &format!("berth={id}"))
        .await;
    let latest = &own.json()["placements"][0];
    assert_eq!(
        (&latest["engine"], &latest["tab"], &latest["document"]),
        (&json!("engine-0"), &json!("t1"), &json!("sales.qvf"))
    );
}

#[tokio::test]
async fn refusals_of_the_placer_are_problems() {
    let (site, engine) = site().await;
    let id = site.login().await;
    let missing = site
        .post_json("/v1/placements", body(&id, "/app/missing.qvf"))
        .await;
    assert_eq!(
        (missing.status, missing.reason().as_str()),
        (404, "no-such-document")
    );
    engine.faults().set(|f| f.reject_jwt = true);
    let failed = site
        .post_json("/v1/placements", body(&id, "/app/sales.qvf"))
        .await;
    assert_eq!(
        (failed.status, failed.reason().as_str()),
        (503, "engine-failed")
    );
    assert_eq!(failed.header("retry-after"), "1");
}

#[tokio::test]
async fn a_gateway_that_hangs_up_ends_its_placement() {
    let (site, engine) = site().await;
    let id = site.login().await;
    engine.faults().set(|f| f.slow_open_ms = 2000);
    let body = body(&id, "/app/sales.qvf");
    let mut gateway = TcpStream::connect(site.address).await.unwrap();
    let request = format!(
        "POST /v1/placements HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    gateway.write_all(request.as_bytes()).await.unwrap();
    until("the placement is under way", async || {
        engine.stats().sockets == 1
    })
    .await;
    assert_eq!(reservations(&site).await, "1");
    drop(gateway);
    until("the reservation is given back", async || {
        reservations(&site).await == "0"
    })
    .await;
    until("the engine is left alone", async || {
        engine.stats().sockets == 0
    })
    .await;
    let metrics = site.get("/metrics", "").await.text;
    assert!(
        !metrics.contains("berth_placements_total{pool=\"qix\""),
        "it never ended"
    );
}

#[tokio::test]
async fn many_placements_share_one_connection() {
    let (site, engine) = site().await;
    let id = site.login().await;
    let body = body(&id, "/app/sales.qvf");
    let mut gateway = TcpStream::connect(site.address).await.unwrap();
    for n in 1..=3 {
        let request = format!(
            "POST /v1/placements HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        gateway.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 16 * 1024];
        let length = gateway.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
        assert_eq!(engine.stats().sessions, n);
    }
}
