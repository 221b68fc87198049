//! Engine sessions end with their login session, and when their client leaves for good; until then each counts once.

use crate::engines::request_as_operator;
use crate::events::CLIENTS;
use crate::reporting_gateway::ReportingGateway;
use crate::site::{Answer, Site, eventually, send_request};
use berth_engine_sim::{Document, Engine, Options};
use berth_placement::core::clock::Clock;
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const PATH: &str = "/app/sales.qvf";
/// Within this time the engine sessions of an ended login session end.
pub(crate) const PROMPTLY: Duration = Duration::from_secs(2);

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The settings of a site with this engine in a pool with these settings. `session`: more settings of login sessions.
pub(crate) fn site_settings(pool: &str, session: &str, engine: &Engine) -> String {
    let (port, metrics) = (engine.api_addr().port(), engine.metrics_addr().port());
    format!(
        "{CLIENTS}probe: {{ interval: 200ms, timeout: 10s }}
placement: {{ engine_timeout: 10s, deadline: 20s }}
session: {{ cookie: {{ secure: false }}{session} }}
pools:
  - name: p
    driver: qix
    cluster: c
    {pool}
    discovery: {{ static: [ {{ name: e, ip: 127.0.0.1, port: {port}, metrics_port: {metrics} }} ] }}
routes: [ {{ path: \"/app/{{document}}\", pool: p, open: {{ document: \"{{document}}\" }} }} ]"
    )
}

pub(crate) async fn wait_until_ready(site: &Site) {
    eventually("the service is ready", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
}

/// An engine, and a site with it.
pub(crate) async fn start_site(pool: &str, session: &str, options: Options) -> (Site, Engine) {
    let engine = berth_engine_sim::start(Options {
        documents: vec![Document::new("sales.qvf", 10)],
        ..options
    });
    let engine = engine.await.unwrap();
    let site = Site::start(&site_settings(pool, session, &engine)).await;
    wait_until_ready(&site).await;
    (site, engine)
}

pub(crate) fn signing_engine() -> Options {
    Options {
        jwt_secret: Some("k".repeat(40)),
        ..Options::default()
    }
}

async fn place(site: &Site, login: &str, tab: Option<&str>) -> Answer {
    let body = json!({"session": login, "method": "GET", "path": PATH, "host": "h", "tab": tab});
    site.post_json("/v1/placements", body).await
}

/// The client's WebSocket to the engine, as Envoy forwards it.
async fn connect(placed: &Value) -> Socket {
    let (engine, path) = (&placed["destination"], &placed["path"]);
    let url = format!(
        "ws://{}{}",
        engine.as_str().unwrap(),
        path.as_str().unwrap()
    );
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    for (name, value) in placed["set_headers"].as_object().unwrap() {
        let name = HeaderName::try_from(name.as_str()).unwrap();
        let value = HeaderValue::from_str(value.as_str().unwrap()).unwrap();
        headers.insert(name, value);
    }
    let token = format!("Bearer {}", placed["token"].as_str().unwrap());
    headers.insert("authorization", HeaderValue::from_str(&token).unwrap());
    let mut socket = connect_async(request).await.unwrap().0;
    let first = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(first.contains("SESSION_ATTACHED"), "{first}");
    socket
}

/// Places a WebSocket, connects it, and reports it open.
pub(crate) async fn open(
    gateway: &mut ReportingGateway<'_>,
    login: &str,
    tab: Option<&str>,
) -> (Value, Socket) {
    let placed = place(gateway.site, login, tab).await;
    assert_eq!(placed.status, 200, "{placed:?}");
    let placed = placed.json();
    let socket = connect(&placed).await;
    let opened = json!({"stream": placed["stream"], "session_ref": placed["session_ref"], "pool": "p",
        "engine": "e", "opened_at": gateway.site.clock.now_s()});
    gateway.send_report(json!({ "opened": [opened] })).await;
    (placed, socket)
}

/// The client's WebSocket has ended with this code; `None`: the connection was lost.
pub(crate) async fn close(
    gateway: &mut ReportingGateway<'_>,
    placed: &Value,
    socket: Socket,
    code: Option<u16>,
) {
    drop(socket);
    let mut closed = json!({"stream": placed["stream"], "reason": "ended", "duration_ms": 10});
    if let Some(code) = code {
        closed["close_code"] = json!(code);
    }
    gateway.send_report(json!({ "closed": [closed] })).await;
}

pub(crate) async fn log_out(site: &Site, login: &str) {
    let request = site.request(Method::POST, "/logout");
    let answer = send_request(request.header("cookie", format!("berth={login}"))).await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

pub(crate) async fn wait_for_sessions(engine: &Engine, expected: usize) -> Duration {
    let started_at = Instant::now();
    eventually(&format!("the engine has {expected} sessions"), async || {
        engine.stats().sessions == expected
    })
    .await;
    started_at.elapsed()
}

async fn metric(site: &Site, name: &str) -> f64 {
    let text = site.get("/metrics", "").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn a_logout_ends_the_engine_sessions_of_the_login_session() {
    let (site, engine) = start_site("", "", signing_engine()).await;
    let (login, other) = (site.login().await, site.login().await);
    let mut gateway = ReportingGateway::new(&site, "g");
    let (lingering, socket) = open(&mut gateway, &login, Some("t1")).await;
    close(&mut gateway, &lingering, socket, None).await;
    let (_, stays) = open(&mut gateway, &other, Some("t1")).await;
    // No client has connected to this one.
    assert_eq!(place(&site, &login, Some("t2")).await.status, 200);
    assert_eq!(engine.stats().sessions, 3);
    log_out(&site, &login).await;
    let elapsed = wait_for_sessions(&engine, 1).await;
    assert!(elapsed < PROMPTLY, "{elapsed:?}");
    let ok = r#"berth_engine_session_ends_total{pool="p",outcome="ok"}"#;
    eventually("both ends are counted", async || {
        metric(&site, ok).await == 2.0
    })
    .await;
    drop(stays);
}

#[tokio::test]
async fn an_engine_session_with_a_socket_ends_when_the_gateway_has_closed_it() {
    let (site, engine) = start_site("", "", signing_engine()).await;
    let login = site.login().await;
    let mut gateway = ReportingGateway::new(&site, "g");
    let (placed, socket) = open(&mut gateway, &login, Some("t")).await;
    let session_ref = placed["session_ref"].as_str().unwrap();
    let path = format!("/v1/sessions/{session_ref}");
    let ended = request_as_operator(&site, Method::DELETE, &path).await;
    assert_eq!(ended.status, 204, "{ended:?}");
    let ok = r#"berth_engine_session_ends_total{pool="p",outcome="ok"}"#;
    eventually("the engine knows", async || metric(&site, ok).await == 1.0).await;
    assert_eq!(engine.stats().sessions, 1, "its socket is open");
    close(&mut gateway, &placed, socket, None).await;
    let elapsed = wait_for_sessions(&engine, 0).await;
    assert!(elapsed < PROMPTLY, "{elapsed:?}");
}

#[tokio::test]
async fn an_expired_login_session_ends_its_engine_sessions() {
    // The clock of the test is ahead of the engine's, so that the engine checks no token.
    let session = ", idle_timeout: 10m";
    let (site, engine) = start_site("", session, Options::default()).await;
    let login = site.login().await;
    let mut gateway = ReportingGateway::new(&site, "g");
    let (placed, socket) = open(&mut gateway, &login, Some("t")).await;
    close(&mut gateway, &placed, socket, None).await;
    site.clock.advance_ms(11 * 60_000);
    let elapsed = wait_for_sessions(&engine, 0).await;
    assert!(elapsed < PROMPTLY, "{elapsed:?}");
}

#[tokio::test]
async fn an_engine_that_cannot_be_reached_is_asked_again_until_the_session_has_ended_by_itself() {
    let pool = "engine_session_ttl: 8s";
    let (site, engine) = start_site(pool, "", signing_engine()).await;
    let login = site.login().await;
    let mut gateway = ReportingGateway::new(&site, "g");
    let (placed, socket) = open(&mut gateway, &login, Some("t")).await;
    close(&mut gateway, &placed, socket, None).await;
    engine.faults().set(|f| f.refuse = true);
    log_out(&site, &login).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(engine.stats().sessions, 1);
    engine.faults().set(|f| f.refuse = false);
    let started_at = Instant::now();
    wait_for_sessions(&engine, 0).await;
    assert!(
        started_at.elapsed() < Duration::from_secs(6),
        "before its TTL"
    );

    let login = site.login().await;
    let (placed, socket) = open(&mut gateway, &login, Some("t")).await;
    close(&mut gateway, &placed, socket, None).await;
    engine.faults().set(|f| f.refuse = true);
    log_out(&site, &login).await;
    let given_up = r#"berth_engine_session_ends_total{pool="p",outcome="given-up"}"#;
    eventually("it is given up", async || {
        metric(&site, given_up).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_room_at_once() {
    let pool = "capacity: { per_engine: 2 }\n    queue: { max_length: 9, timeout: 8s }";
    let (site, engine) = start_site(pool, "", signing_engine()).await;
    let login = site.login().await;
    let mut gateway = ReportingGateway::new(&site, "g");
    let (first, socket) = open(&mut gateway, &login, None).await;
    let (_second, _stays) = open(&mut gateway, &login, None).await;
    let (refused, placed) = tokio::join!(
        async {
            // Both wait; the room of one client is enough for the first of them.
            let both = tokio::join!(place(&site, &login, None), place(&site, &login, None));
            [both.0, both.1]
        },
        async {
            eventually("two placements wait", async || {
                metric(&site, r#"berth_placement_queue_length{pool="p"}"#).await == 2.0
            })
            .await;
            let started_at = Instant::now();
            close(&mut gateway, &first, socket, Some(1000)).await;
            eventually("one waits", async || {
                metric(&site, r#"berth_placement_queue_length{pool="p"}"#).await == 1.0
            })
            .await;
            started_at.elapsed()
        }
    );
    assert!(placed < PROMPTLY, "{placed:?}");
    let mut statuses = refused.map(|answer| answer.status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    assert_eq!(engine.stats().sessions, 2);
}

#[tokio::test]
async fn only_a_client_that_has_left_for_good_ends_its_engine_session() {
    let cases = [
        ("", Some(1001), 1),
        ("", None, 1),
        ("", Some(1000), 0),
        ("end_on_close: false", Some(1000), 1),
    ];
    for (pool, code, left) in cases {
        let (site, engine) = start_site(pool, "", signing_engine()).await;
        let login = site.login().await;
        let mut gateway = ReportingGateway::new(&site, "g");
        let (placed, socket) = open(&mut gateway, &login, Some("t")).await;
        close(&mut gateway, &placed, socket, code).await;
        if left == 0 {
            wait_for_sessions(&engine, 0).await;
        } else {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(engine.stats().sessions, left, "{pool} {code:?}");
        let (again, _socket) = open(&mut gateway, &login, Some("t")).await;
        let expected = if left == 0 { "least-load" } else { "resumed" };
        assert_eq!(again["reason"], expected, "{pool} {code:?}");
    }
}

#[tokio::test]
async fn an_engine_session_that_another_socket_shares_stays_and_counts_once() {
    let (site, engine) = start_site("sharing: per-document", "", signing_engine()).await;
    let login = site.login().await;
    let mut gateway = ReportingGateway::new(&site, "g");
    let (first, socket) = open(&mut gateway, &login, None).await;
    let (second, other) = open(&mut gateway, &login, None).await;
    assert_eq!(second["reason"], "shared");
    let sessions = r#"berth_engine_sessions{pool="p",engine="e"}"#;
    assert_eq!(metric(&site, sessions).await, 1.0);
    close(&mut gateway, &first, socket, Some(1000)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        (engine.stats().sessions, metric(&site, sessions).await),
        (1, 1.0)
    );
    close(&mut gateway, &second, other, Some(1000)).await;
    wait_for_sessions(&engine, 0).await;
    eventually("its room is free", async || {
        metric(&site, sessions).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn sockets_that_open_and_close_between_probes_count_whether_probes_count_them_or_not() {
    for counts_lingering in [true, false] {
        let pool = format!(
            "probe: {{ counts_lingering: {counts_lingering} }}\n    end_on_close: false\n    capacity: {{ per_engine: 5 }}"
        );
        let options = Options {
            counts_lingering,
            ..signing_engine()
        };
        let (site, engine) = start_site(&pool, "", options).await;
        let login = site.login().await;
        let mut gateway = ReportingGateway::new(&site, "g");
        for _ in 0..3 {
            let (placed, socket) = open(&mut gateway, &login, None).await;
            close(&mut gateway, &placed, socket, Some(1000)).await;
        }
        let count = r#"berth_engine_sessions{pool="p",engine="e"}"#;
        // A probe during a preparation may have counted a session before its placement.
        eventually("each counts once", async || {
            metric(&site, count).await == 3.0
        })
        .await;
        let check = async || {
            let sessions = metric(&site, count).await;
            let room = metric(&site, r#"berth_pool_available_sessions{pool="p"}"#).await;
            assert_eq!((sessions, room), (3.0, 2.0), "{counts_lingering}");
        };
        check().await;
        let probes = engine.stats().healthchecks_total;
        eventually("two more probes", async || {
            engine.stats().healthchecks_total >= probes + 3
        })
        .await;
        check().await;
    }
}
