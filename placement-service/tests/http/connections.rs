//! Connections without a complete request, and more connections than `http.max_connections`.

use crate::call_gateway::{DEFAULT_WINDOW, Gateway, token_request_body};
use crate::site::{Site, eventually, send_request};
use berth_api::TOKENS_PATH;
use reqwest::Method;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(20);
const SHORT_REQUEST_TIMEOUT: &str = "http: { request_timeout: 300ms }";
const COMPAT_LISTENERS: &str =
    "compat: { mira: { listen: \"127.0.0.1:0\" }, session_service: { listen: \"127.0.0.1:0\" } }";
/// `http.max_connections` in the tests of that limit.
const MAX_CONNECTIONS: usize = 20;

/// A complete request.
pub(crate) const LIVE_REQUEST: &str = "GET /health/live HTTP/1.1\r\nhost: berth\r\n\r\n";
/// Beginnings of requests. The last one has a part of its body.
pub(crate) const PARTIAL_REQUESTS: [&str; 5] = [
    "",
    "POST /login HT",
    "PRI * HTTP/2.0\r\n\r\n",
    // The HTTP/2 preface with empty SETTINGS and no request.
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    "POST /v1/tokens HTTP/1.1\r\nhost: berth\r\ncontent-length: 100\r\n\r\n{\"session\":",
];

/// Connects and sends `request`.
pub(crate) async fn connect(at: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    // The service may have closed the connection already.
    let _ = stream.write_all(request.as_bytes()).await;
    stream
}

/// Reads until the service closes the connection. Returns what the service has sent.
async fn read_until_closed(mut stream: TcpStream) -> String {
    let mut received = Vec::new();
    let read = timeout(TIMEOUT, stream.read_to_end(&mut received)).await;
    // A reset connection counts as closed.
    assert!(read.is_ok(), "the connection is kept");
    String::from_utf8_lossy(&received).into_owned()
}

/// Whether the connection still serves a request.
pub(crate) async fn serves_request(stream: &mut TcpStream) -> bool {
    if stream.write_all(LIVE_REQUEST.as_bytes()).await.is_err() {
        return false;
    }
    let mut received = Vec::new();
    while !received.ends_with(b"ok\n") {
        match timeout(TIMEOUT, stream.read_buf(&mut received))
            .await
            .unwrap()
        {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
    }
    true
}

#[tokio::test]
async fn a_connection_without_a_complete_request_is_closed_at_every_listener() {
    let site = Site::start(&format!("{SHORT_REQUEST_TIMEOUT}\n{COMPAT_LISTENERS}")).await;
    let (mira, session_service) = (site.mira.unwrap(), site.session_service.unwrap());
    for at in [site.address, mira, session_service] {
        for request in PARTIAL_REQUESTS {
            read_until_closed(connect(at, request).await).await;
        }
    }
    let body = read_until_closed(connect(site.address, PARTIAL_REQUESTS[4]).await).await;
    assert!(body.starts_with("HTTP/1.1 408 "), "{body}");
    assert!(body.contains("\"reason\":\"body-too-slow\""), "{body}");
    let late = "berth_http_connections_closed_total{cause=\"timeout\"}";
    // The routes of Mira and of the older session service take no body, so they do not wait for one.
    assert_eq!(site.metric(late).await, 3 * 4 + 2);
    let slow = "berth_refusals_total{reason=\"body-too-slow\"}";
    assert_eq!(site.metric(slow).await, 2);
    eventually("the connections are closed", async || {
        // The connection that asks for metrics remains.
        site.metric("berth_http_connections ").await == 1
    })
    .await;
}

#[tokio::test]
async fn a_connection_may_be_idle_after_a_complete_request_but_must_complete_the_next() {
    let site = Site::start(SHORT_REQUEST_TIMEOUT).await;
    let id = site.login().await;
    let mut idle = connect(site.address, "").await;
    assert!(serves_request(&mut idle).await);
    let mut calls = Gateway::connect(site.address, &[], DEFAULT_WINDOW).await;
    let report = |sequence, cursor: &str| {
        let body = json!({"sequence": sequence, "cursor": cursor, "poll_timeout_ms": 1_500});
        let poll = site.request(Method::POST, "/v1/gateways/g/events");
        send_request(
            poll.header("content-type", "application/json")
                .body(body.to_string()),
        )
    };
    let here = report(1, "now").await.json()["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let poll = report(2, &here);
    let others = async {
        // After this, the request timeout has passed twice.
        for _ in 0..2 {
            read_until_closed(connect(site.address, "").await).await;
        }
        assert!(serves_request(&mut idle).await);
        assert!(serves_request(&mut idle).await);
        idle.write_all(b"GET /health/li").await.unwrap();
        assert_eq!(read_until_closed(idle).await, "");
        calls.call(1, TOKENS_PATH, token_request_body(&id));
        assert_eq!(calls.next_reply().await.unwrap().status, 200);
    };
    let (poll, ()) = tokio::join!(poll, others);
    assert_eq!(poll.status, 200);
}

/// A service with a low connection limit and a long request timeout.
async fn start_small_site() -> Site {
    Site::start(&format!(
        "http: {{ max_connections: {MAX_CONNECTIONS}, request_timeout: 600s }}"
    ))
    .await
}

#[tokio::test]
async fn at_the_limit_the_oldest_connections_without_a_complete_request_are_closed() {
    let site = start_small_site().await;
    let id = site.login().await;
    let mut idle = connect(site.address, "").await;
    assert!(serves_request(&mut idle).await);
    let mut calls = Gateway::connect(site.address, &[], DEFAULT_WINDOW).await;
    let mut parts = Vec::new();
    for request in PARTIAL_REQUESTS.iter().cycle().take(5 * MAX_CONNECTIONS) {
        parts.push(connect(site.address, request).await);
    }
    let newest = parts.split_off(5 * MAX_CONNECTIONS - 5);
    // Three connections have completed a request: the gateway, the idle one, and the one that asks for metrics.
    let oldest = parts.drain(..4 * MAX_CONNECTIONS + 3);
    for old in oldest {
        read_until_closed(old).await;
    }
    eventually("the last connection is accepted", async || {
        site.metric("berth_http_connections ").await == MAX_CONNECTIONS as u64
    })
    .await;
    for (request, mut new) in PARTIAL_REQUESTS.iter().zip(newest) {
        if request.is_empty() {
            assert!(serves_request(&mut new).await, "a newer one was closed");
        }
    }
    assert!(serves_request(&mut idle).await);
    calls.call(1, TOKENS_PATH, token_request_body(&id));
    assert_eq!(calls.next_reply().await.unwrap().status, 200);
    let closed = "berth_http_connections_closed_total{cause=\"limit\"}";
    assert_eq!(site.metric(closed).await, 4 * MAX_CONNECTIONS as u64 + 3);
}

#[tokio::test]
async fn when_all_connections_have_completed_a_request_a_new_one_is_refused() {
    let site = start_small_site().await;
    // The connection that asks for metrics counts, too.
    assert_eq!(site.metric("berth_http_connections ").await, 1);
    let mut idle = Vec::new();
    for _ in 1..MAX_CONNECTIONS {
        let mut stream = connect(site.address, "").await;
        assert!(serves_request(&mut stream).await);
        idle.push(stream);
    }
    for _ in 0..5 {
        assert_eq!(
            read_until_closed(connect(site.address, LIVE_REQUEST).await).await,
            ""
        );
    }
    for stream in &mut idle {
        assert!(serves_request(stream).await);
    }
    let refused = "berth_http_connections_closed_total{cause=\"refused\"}";
    assert_eq!(site.metric(refused).await, 5);
    drop(idle.pop());
    eventually("there is room again", async || {
        serves_request(&mut connect(site.address, "").await).await
    })
    .await;
}
