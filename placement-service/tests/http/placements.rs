//! `POST /v1/placements` with simulated engines, from the cookie to the engine session.

use crate::engines::placement_body;
use crate::site::Site;
use berth_api::PlacementAnswer;
use berth_engine_sim::{Document, Engine, Options};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Starts an engine that verifies the site's tokens, and a site with that engine.
pub(crate) async fn start_site() -> (Site, Engine) {
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
      static:
        - {{ name: engine-0, ip: 127.0.0.1, port: {}, metrics_port: {} }}
routes:
  - {{ path: \"/app/{{document}}\", pool: qix, open: {{ document: \"{{document}}\" }} }}
  - {{ path: \"/admin/{{document}}\", pool: qix, open: {{ document: \"{{document}}\" }}, roles: [admin, auditor] }}
  - {{ path: \"/user/{{document}}\", pool: qix, open: {{ document: \"{{document}}\" }}, roles: [admin, user] }}
",
        engine.api_addr().port(),
        engine.metrics_addr().port()
    ))
    .await;
    wait_until("the service is ready", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
    (site, engine)
}

async fn wait_until(what: &str, holds: impl AsyncFn() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(TIMEOUT, wait).await.is_ok(), "never: {what}");
}

pub(crate) fn session_placement_body(session: &str, path: &str) -> String {
    json!({"session": session, "method": "GET", "path": path, "host": "h", "tab": "t1"}).to_string()
}

pub(crate) async fn count_reservations(site: &Site) -> String {
    let metrics = site.get("/metrics", "").await.text;
    let line = metrics
        .lines()
        .find(|l| l.starts_with("berth_engine_reservations{"));
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_cookie_gets_an_engine_session_with_the_users_token() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    let answer = site
        .post_json(
            "/v1/placements",
            session_placement_body(&id, "/app/sales.qvf"),
        )
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
async fn a_route_with_roles_places_only_accounts_with_one_of_them() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    let token = site.token(&id).await.json()["token"].clone();
    let by_cookie = |path: &str| session_placement_body(&id, path);
    let by_token = |path: &str| {
        json!({"token": token, "method": "GET", "path": path, "host": "h", "tab": "t1"}).to_string()
    };
    for body in [by_cookie("/admin/sales.qvf"), by_token("/admin/sales.qvf")] {
        let refused = site.post_json("/v1/placements", body).await;
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (403, "forbidden")
        );
        let detail = "the account has none of the roles of this path";
        assert_eq!(refused.json()["detail"], detail);
    }
    assert!(engine.sessions().is_empty());
    for body in [by_cookie("/user/sales.qvf"), by_token("/user/sales.qvf")] {
        let placed = site.post_json("/v1/placements", body).await;
        assert_eq!(placed.status, 200, "{placed:?}");
    }
}

#[tokio::test]
async fn refused_placements_get_a_problem() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    let missing = site
        .post_json(
            "/v1/placements",
            session_placement_body(&id, "/app/missing.qvf"),
        )
        .await;
    assert_eq!(
        (missing.status, missing.reason().as_str()),
        (404, "no-such-document")
    );
    engine.faults().set(|f| f.reject_jwt = true);
    let failed = site
        .post_json(
            "/v1/placements",
            session_placement_body(&id, "/app/sales.qvf"),
        )
        .await;
    assert_eq!(
        (failed.status, failed.reason().as_str()),
        (503, "engine-failed")
    );
    assert_eq!(failed.header("retry-after"), "1");
}

#[tokio::test]
async fn the_most_specific_route_of_the_host_takes_a_request() {
    let engine = berth_engine_sim::start(Options::default()).await.unwrap();
    let pool = |name: &str| {
        let port = engine.api_addr().port();
        format!(
            "  - {{ name: {name}, driver: websocket, cluster: c-{name}, discovery: {{ static: [ {{ name: e, ip: 127.0.0.1, port: {port} }} ] }} }}\n"
        )
    };
    let pools: String = ["rest", "room", "lobby", "lab"].map(pool).concat();
    let site = Site::start(&format!(
        "pools:\n{pools}routes:
  - {{ path: '/{{rest}}', pool: rest }}
  - {{ path: '/rooms/{{room}}', pool: room }}
  - {{ path: /rooms/lobby, pool: lobby }}
  - {{ path: '/rooms/{{room}}', host: lab.example.com, pool: lab }}
"
    ))
    .await;
    wait_until("the service is ready", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
    let id = site.login().await;
    for (host, path, pool) in [
        ("h", "/rooms/lobby?x", "lobby"),
        ("h", "/rooms/caf%C3%A9", "room"),
        ("h", "/rooms/a/b", "rest"),
        ("LAB.example.com:8443", "/rooms/lobby", "lab"),
        ("lab.example.com", "/rooms/", "rest"),
    ] {
        let body = json!({"session": id, "method": "GET", "path": path, "host": host});
        let answer = site.post_json("/v1/placements", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["pool"], pool, "{host} {path}");
    }
}

#[tokio::test]
async fn a_request_that_is_no_websocket_is_refused() {
    let (site, _engine) = start_site().await;
    let id = site.login().await;
    let body = json!({"session": id, "method": "GET", "upgrade": false, "path": "/app/sales.qvf", "host": "h"});
    let answer = site.post_json("/v1/placements", body).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (426, "upgrade-required")
    );
}

#[tokio::test]
async fn a_gateway_that_disconnects_cancels_its_placement() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    engine.faults().set(|f| f.slow_open_ms = 2000);
    let body = session_placement_body(&id, "/app/sales.qvf");
    let mut gateway = TcpStream::connect(site.address).await.unwrap();
    let request = format!(
        "POST /v1/placements HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    gateway.write_all(request.as_bytes()).await.unwrap();
    wait_until("the placement is under way", async || {
        engine.stats().sockets == 1
    })
    .await;
    assert_eq!(count_reservations(&site).await, "1");
    drop(gateway);
    wait_until("the reservation is released", async || {
        count_reservations(&site).await == "0"
    })
    .await;
    wait_until("the connection to the engine is closed", async || {
        engine.stats().sockets == 0
    })
    .await;
    let metrics = site.get("/metrics", "").await.text;
    let mut outcomes = metrics
        .lines()
        .filter(|line| line.starts_with("berth_placements_total{pool=\"qix\""));
    assert!(
        outcomes.all(|line| line.ends_with(" 0")),
        "a cancelled placement has no outcome"
    );
}

#[tokio::test]
async fn many_placements_share_one_connection() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    let mut gateway = TcpStream::connect(site.address).await.unwrap();
    for n in 1..=3 {
        let body = placement_body(&id, &format!("t{n}")).to_string();
        let request = format!(
            "POST /v1/placements HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        gateway.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 16 * 1024];
        let length = gateway.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("HTTP/1.1 200"), "{n}: {answer}");
        assert_eq!(engine.stats().sessions, n);
    }
}
