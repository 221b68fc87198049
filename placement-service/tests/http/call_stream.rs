//! The call stream: the same answers as requests, cancelled calls, shutdown, and the limits of a stream.

use crate::call_gateway::{Gateway, TIMEOUT, token_request_body};
use crate::placements::{count_reservations, session_placement_body, start_site};
use crate::site::{Site, eventually};
use berth_api::{
    CALLS_PATH, Call, GREETING_ID, MAX_CALLS, PLACEMENTS_PATH, PlacementAnswer, Problem,
    RejectReason, TOKENS_PATH, TokenAnswer,
};
use berth_engine_sim::Engine;
use prost::Message;
use tokio::time::timeout;

const CALL_LIMIT: u64 = MAX_CALLS as u64;
// Status codes of gRPC: <https://grpc.io/docs/guides/status-codes/>.
const INVALID_ARGUMENT: &str = "3";
const RESOURCE_EXHAUSTED: &str = "8";

/// Sends a placement as call 1, which the engine delays by this time, and waits until it is under way.
async fn start_slow_placement(gateway: &Gateway, engine: &Engine, session: &str, delay_ms: u64) {
    engine.faults().set(|f| f.slow_open_ms = delay_ms);
    let body = session_placement_body(session, "/app/sales.qvf");
    gateway.call(1, PLACEMENTS_PATH, body);
    eventually("the placement is under way", async || {
        engine.stats().sockets == 1
    })
    .await;
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
    let mut gateway = Gateway::open(&site, &[]).await;
    start_slow_placement(&gateway, &engine, &id, 2_000).await;
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
    let gateway = Gateway::open(&site, &[]).await;
    start_slow_placement(&gateway, &engine, &id, 2_000).await;
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
    start_slow_placement(&gateway, &engine, &id, 600).await;
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
    let mut gateway = Gateway::open(&site, &[]).await;
    start_slow_placement(&gateway, &engine, &id, 5_000).await;
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
