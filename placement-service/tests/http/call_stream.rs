//! The call stream (gRPC `berth.v1.Gateway/Calls`). The test client uses only HTTP/2 and protobuf, no gRPC library.

use crate::placements::{count_reservations, session_placement_body, start_site};
use crate::site::{Site, eventually};
use axum::body::{Body, Bytes};
use berth_api::{
    CALLS_PATH, Call, GREETING_ID, MAX_CALLS, PLACEMENTS_PATH, PlacementAnswer, Problem,
    RejectReason, Reply, TOKENS_PATH, TokenAnswer,
};
use futures_util::stream;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(20);
/// HTTP/2's default initial window size (RFC 9113, section 6.9.2).
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;
const CALL_LIMIT: u64 = MAX_CALLS as u64;
// Status codes of gRPC: <https://grpc.io/docs/guides/status-codes/>.
const INVALID_ARGUMENT: &str = "3";
const RESOURCE_EXHAUSTED: &str = "8";

/// A gateway with one call stream.
pub(crate) struct Gateway {
    /// `None`: the gateway has ended its side of the stream.
    calls: Option<mpsc::UnboundedSender<Bytes>>,
    pub(crate) status: u16,
    response: Incoming,
    bytes: Vec<u8>,
    replies: VecDeque<Reply>,
    /// The gRPC status; set when the stream has ended with trailers.
    grpc_status: Option<String>,
}

impl Gateway {
    async fn open(site: &Site, headers: &[(&str, &str)]) -> Self {
        Self::connect(site.address, headers, DEFAULT_WINDOW).await
    }

    /// `window`: how many bytes of unread replies may be in flight.
    pub(crate) async fn connect(at: SocketAddr, headers: &[(&str, &str)], window: u32) -> Self {
        let stream = TcpStream::connect(at).await.unwrap();
        let (mut requests, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let (calls, sent) = mpsc::unbounded_channel::<Bytes>();
        let next = |mut sent: mpsc::UnboundedReceiver<Bytes>| async {
            sent.recv()
                .await
                .map(|bytes| (Ok::<_, Infallible>(bytes), sent))
        };
        let sent = Body::from_stream(stream::unfold(sent, next));
        let mut request = Request::post(format!("http://berth{CALLS_PATH}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = requests.send_request(request.body(sent).unwrap());
        let answer = timeout(TIMEOUT, answer).await.unwrap().unwrap();
        let mut gateway = Self {
            calls: Some(calls),
            status: answer.status().as_u16(),
            response: answer.into_body(),
            bytes: Vec::new(),
            replies: VecDeque::new(),
            grpc_status: None,
        };
        if gateway.status == 200 {
            let first = gateway.next_reply().await;
            assert_eq!(first, Some(Reply::greeting()), "the service greets");
        }
        gateway
    }

    fn send_message(&self, message: &[u8]) {
        // Not compressed, then the length: a Length-Prefixed-Message of gRPC over HTTP/2.
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        self.calls.as_ref().unwrap().send(frame.into()).unwrap();
    }

    pub(crate) fn call(&self, id: u64, path: &str, body: impl ToString) {
        let (path, body) = (path.to_owned(), body.to_string().into_bytes());
        self.send_message(&Call { id, path, body }.encode_to_vec());
    }

    /// The next reply; `None` when the stream has ended.
    pub(crate) async fn next_reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Some(reply);
            }
            let frame = poll_fn(|cx| Pin::new(&mut self.response).poll_frame(cx));
            match timeout(TIMEOUT, frame).await.unwrap()?.ok()?.into_data() {
                Ok(chunk) => self.bytes.extend(chunk),
                Err(trailers) => {
                    let trailers = trailers.into_trailers().unwrap();
                    let status = trailers["grpc-status"].to_str().unwrap();
                    self.grpc_status = Some(status.to_owned());
                }
            }
            while let Some((head, rest)) = self.bytes.split_first_chunk::<5>() {
                let [0, length @ ..] = *head else {
                    panic!("compressed");
                };
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
                let Some((message, rest)) = rest.split_at_checked(length) else {
                    break;
                };
                self.replies.push_back(Reply::decode(message).unwrap());
                self.bytes = rest.to_vec();
            }
        }
    }
}

pub(crate) fn token_request_body(session: &str) -> String {
    json!({ "session": session }).to_string()
}

#[tokio::test]
async fn calls_get_the_same_answers_as_requests() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    let mut gateway = Gateway::open(&site, &[]).await;
    gateway.call(
        7,
        PLACEMENTS_PATH,
        session_placement_body(&id, "/app/sales.qvf"),
    );
    let reply = gateway.next_reply().await.unwrap();
    assert_eq!((reply.id, reply.status), (7, 200));
    let placed: PlacementAnswer = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(placed.destination, Some(engine.api_addr().to_string()));

    gateway.call(8, TOKENS_PATH, token_request_body(&id));
    let reply = gateway.next_reply().await.unwrap();
    let token: TokenAnswer = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((reply.status, token.account.as_str()), (200, "demo"));
    assert_eq!(token.token, placed.token);
    let route = |route, status| {
        format!("berth_http_requests_total{{route=\"{route}\",status=\"{status}\"}}")
    };
    assert_eq!(site.metric(&route(PLACEMENTS_PATH, 200)).await, 1);
    assert_eq!(site.metric(&route(TOKENS_PATH, 200)).await, 1);
}

#[tokio::test]
async fn refusals_equal_those_of_requests_and_keep_the_stream_open() {
    let site = Site::start("").await;
    let mut gateway = Gateway::open(&site, &[]).await;
    let unknown = token_request_body(&"u".repeat(43));
    let large = "x".repeat(64 * 1024 + 1);
    for (id, path, body, status, reason) in [
        (
            1,
            TOKENS_PATH,
            unknown.as_str(),
            401,
            RejectReason::UnknownSession,
        ),
        (2, TOKENS_PATH, "{}", 400, RejectReason::InvalidRequest),
        (3, PLACEMENTS_PATH, "[]", 400, RejectReason::InvalidRequest),
    ] {
        gateway.call(id, path, body);
        let reply = gateway.next_reply().await.unwrap();
        assert_eq!((reply.id, reply.status), (id, status), "{path} {body}");
        let problem: Problem = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(problem.reason, reason);
        let by_request = site.post_json(path, body).await;
        assert_eq!(by_request.text.as_bytes(), reply.body);
    }
    for (id, path, body, status) in [
        (4, "/v1/engines", "{}", 404),
        (5, TOKENS_PATH, &*large, 413),
    ] {
        gateway.call(id, path, body);
        let reply = gateway.next_reply().await.unwrap();
        assert_eq!((reply.id, reply.status), (id, status), "{path}");
    }
    let refused = "berth_refusals_total{reason=\"unknown-session\"}";
    assert_eq!(site.metric(refused).await, 2);
}

#[tokio::test]
async fn a_slow_call_does_not_block_others_and_can_be_cancelled() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    engine.faults().set(|f| f.slow_open_ms = 2_000);
    let mut gateway = Gateway::open(&site, &[]).await;
    gateway.call(
        1,
        PLACEMENTS_PATH,
        session_placement_body(&id, "/app/sales.qvf"),
    );
    eventually("the placement is under way", async || {
        engine.stats().sockets == 1
    })
    .await;
    gateway.call(2, TOKENS_PATH, token_request_body(&id));
    assert_eq!(gateway.next_reply().await.unwrap().id, 2);
    assert_eq!(count_reservations(&site).await, "1");

    gateway.send_message(&Call::cancel(1).encode_to_vec());
    gateway.send_message(&Call::cancel(99).encode_to_vec());
    eventually("the reservation is released", async || {
        count_reservations(&site).await == "0" && engine.stats().sockets == 0
    })
    .await;
    gateway.call(3, TOKENS_PATH, token_request_body(&id));
    assert_eq!(
        gateway.next_reply().await.unwrap().id,
        3,
        "no reply to the cancelled call"
    );
}

#[tokio::test]
async fn a_disconnected_gateway_releases_its_reservations() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    engine.faults().set(|f| f.slow_open_ms = 2_000);
    let gateway = Gateway::open(&site, &[]).await;
    gateway.call(
        1,
        PLACEMENTS_PATH,
        session_placement_body(&id, "/app/sales.qvf"),
    );
    eventually("the placement is under way", async || {
        engine.stats().sockets == 1
    })
    .await;
    drop(gateway);
    eventually("the reservation is released", async || {
        count_reservations(&site).await == "0" && engine.stats().sockets == 0
    })
    .await;
}

#[tokio::test]
async fn calls_are_answered_after_the_gateway_has_ended_its_side() {
    let site = Site::start("").await;
    let id = site.login().await;
    let mut gateway = Gateway::open(&site, &[]).await;
    for number in 1..=100 {
        gateway.call(number, TOKENS_PATH, token_request_body(&id));
    }
    gateway.calls = None;
    let mut answered = Vec::new();
    while let Some(reply) = gateway.next_reply().await {
        assert_eq!(reply.status, 200);
        answered.push(reply.id);
    }
    answered.sort_unstable();
    assert_eq!(answered, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn shutdown_answers_pending_calls_and_does_not_wait_for_gateways() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    let mut idle = Gateway::open(&site, &[]).await;
    let mut gateway = Gateway::open(&site, &[]).await;
    engine.faults().set(|f| f.slow_open_ms = 600);
    gateway.call(
        1,
        PLACEMENTS_PATH,
        session_placement_body(&id, "/app/sales.qvf"),
    );
    eventually("the placement is under way", async || {
        engine.stats().sockets == 1
    })
    .await;
    let ended = tokio::spawn(site.shut_down());
    assert!(idle.next_reply().await.is_none());
    // The gateway does not know of the shutdown yet.
    gateway.call(2, TOKENS_PATH, token_request_body(&id));
    for expected in [2, 1] {
        let reply = gateway.next_reply().await.unwrap();
        assert_eq!((reply.id, reply.status), (expected, 200));
    }
    assert!(gateway.next_reply().await.is_none());
    timeout(TIMEOUT, ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_waits_only_briefly_for_slow_calls() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    engine.faults().set(|f| f.slow_open_ms = 5_000);
    let mut gateway = Gateway::open(&site, &[]).await;
    gateway.call(
        1,
        PLACEMENTS_PATH,
        session_placement_body(&id, "/app/sales.qvf"),
    );
    eventually("the placement is under way", async || {
        engine.stats().sockets == 1
    })
    .await;
    let ended = tokio::spawn(site.shut_down());
    let end = gateway.next_reply().await;
    assert_eq!(end, None, "the gateway has to ask another replica");
    timeout(TIMEOUT, ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_stream_needs_the_gateway_secret() {
    let site = Site::start("gateways: { secret: { inline: gateway-secret-1 } }").await;
    for headers in [&[][..], &[("authorization", "Bearer gateway-secret-2")]] {
        let gateway = Gateway::open(&site, headers).await;
        assert_eq!(gateway.status, 403);
    }
    let id = site.login().await;
    let secret = [("authorization", "Bearer gateway-secret-1")];
    let mut gateway = Gateway::open(&site, &secret).await;
    gateway.call(1, TOKENS_PATH, token_request_body(&id));
    assert_eq!(gateway.next_reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn an_invalid_call_ends_only_its_stream() {
    let site = Site::start("").await;
    let id = site.login().await;
    for junk in [&b"junk"[..], &[0x08], &vec![0; 200_000]] {
        let mut gateway = Gateway::open(&site, &[]).await;
        gateway.send_message(junk);
        assert_eq!(gateway.next_reply().await, None);
    }
    let by_http1 = site.post_json(CALLS_PATH, "").await;
    assert_eq!(by_http1.status, 400);
    assert_eq!(by_http1.reason(), "invalid-request");
    assert_eq!(site.token(&id).await.status, 200);
}

/// Waits until this number of token calls has been answered. The gateway need not have read the replies.
async fn wait_until_answered(site: &Site, calls: u64) {
    let tokens = format!("berth_http_requests_total{{route=\"{TOKENS_PATH}\",status=\"200\"}}");
    eventually("all are answered", async || {
        site.metric(&tokens).await == calls
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_reads_no_replies_is_disconnected_before_they_fill_the_memory() {
    let site = Site::start("").await;
    let id = site.login().await;
    let mut gateway = Gateway::connect(site.address, &[], 64).await;
    for number in 1..=CALL_LIMIT {
        gateway.call(number, TOKENS_PATH, token_request_body(&id));
    }
    wait_until_answered(&site, CALL_LIMIT).await;
    assert_eq!(site.metric("berth_call_streams ").await, 1);
    // A few replies are in flight, so the service accepts a few more calls.
    for number in 1..=300 {
        gateway.call(CALL_LIMIT + number, TOKENS_PATH, token_request_body(&id));
    }
    eventually("the service ends the stream", async || {
        site.metric("berth_call_streams ").await == 0
    })
    .await;
    let mut replies = 0;
    while gateway.next_reply().await.is_some() {
        replies += 1;
    }
    assert_eq!(gateway.grpc_status.as_deref(), Some(RESOURCE_EXHAUSTED));
    assert!(replies < CALL_LIMIT + 300, "{replies} replies were kept");
    assert_eq!(site.token(&id).await.status, 200);
}

#[tokio::test]
async fn the_maximum_of_concurrent_calls_is_answered_even_when_replies_are_read_late() {
    let site = Site::start("").await;
    let id = site.login().await;
    let mut gateway = Gateway::connect(site.address, &[], 64).await;
    for round in 0..2 {
        for number in 1..=CALL_LIMIT {
            gateway.call(
                round * CALL_LIMIT + number,
                TOKENS_PATH,
                token_request_body(&id),
            );
        }
        wait_until_answered(&site, (round + 1) * CALL_LIMIT).await;
        for _ in 1..=CALL_LIMIT {
            assert_eq!(gateway.next_reply().await.unwrap().status, 200);
        }
    }
}

#[tokio::test]
async fn a_call_id_in_use_ends_the_stream() {
    let (site, engine) = start_site().await;
    let id = site.login().await;
    engine.faults().set(|f| f.slow_open_ms = 5_000);
    for number in [1, GREETING_ID] {
        let mut gateway = Gateway::open(&site, &[]).await;
        gateway.call(
            1,
            PLACEMENTS_PATH,
            session_placement_body(&id, "/app/sales.qvf"),
        );
        gateway.call(number, TOKENS_PATH, token_request_body(&id));
        assert_eq!(gateway.next_reply().await, None);
        assert_eq!(gateway.grpc_status.as_deref(), Some(INVALID_ARGUMENT));
    }
}
