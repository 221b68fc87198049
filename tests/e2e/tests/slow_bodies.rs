//! Requests whose bodies never arrive do not affect other clients: they reach no upstream, and they time out. Seconds
//! in every run, minutes in `make soak`.

#![allow(clippy::print_stdout, reason = "measurements are printed")]

use berth_harness::client::Http2;
use berth_harness::fake_service::FakeResponse;
use berth_harness::{Call, FakeService, Result, Stack, wait};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Together more requests than the circuit breaker for the filter's calls permits at once (8,192).
const CONNECTIONS: usize = 84;
const STREAMS: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);
/// Pause of an attacker between a response and the next request.
const PAUSE: Duration = Duration::from_millis(200);

/// Duration of the flood, and the minimum number of rounds of regular clients in it.
fn flood_duration() -> (Duration, usize) {
    if std::env::var_os("BERTH_SOAK").is_some() {
        (Duration::from_secs(180), 500)
    } else {
        (Duration::from_secs(3), 30)
    }
}

/// The head of a login request, without its body.
fn login_without_body() -> Call {
    Call::new("POST", "/login").header("content-length", "100")
}

/// One attacker: a connection full of requests without bodies. Each is repeated when it ends.
async fn run_attacker(to: SocketAddr) {
    loop {
        if let Ok(connection) = Http2::connect_plain(to).await {
            let requests = (0..STREAMS).map(|_| async {
                while connection
                    .send_without_body(login_without_body())
                    .await
                    .is_ok()
                {
                    tokio::time::sleep(PAUSE).await;
                }
            });
            futures_util::future::join_all(requests).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Number of attempts of one kind, and of successful ones.
#[derive(Default)]
struct Attempts {
    all: AtomicUsize,
    succeeded: AtomicUsize,
}

impl Attempts {
    fn record(&self, good: bool) {
        self.all.fetch_add(1, Ordering::Relaxed);
        self.succeeded.fetch_add(good.into(), Ordering::Relaxed);
    }

    fn success_rate(&self) -> f64 {
        self.succeeded.load(Ordering::Relaxed) as f64 / self.all.load(Ordering::Relaxed) as f64
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_without_their_bodies_do_not_starve_other_clients() -> Result<()> {
    let (length, rounds) = flood_duration();
    let mut stack = Stack::builder()
        .engines(2)
        .envoy_concurrency(2)
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let cached = Call::get("/api/whoami").cookie(&cookie);
    assert_eq!(stack.send(cached.clone()).await?.status, 200);
    let before = stack.envoy.process().rss();

    let mut flood = JoinSet::new();
    for _ in 0..CONNECTIONS {
        flood.spawn(run_attacker(stack.address()));
    }
    let sent = || async {
        let sent = stack
            .envoy
            .stat("http.http.downstream_rq_http2_total")
            .await;
        (sent.ok()?? >= (CONNECTIONS * STREAMS) as u64).then_some(())
    };
    wait::poll_until("the flood has begun", LIMIT, sent).await?;

    let [logins, calls, placements] = [(); 3].map(|()| Attempts::default());
    let started_at = Instant::now();
    let mut round = 0;
    while round < rounds || started_at.elapsed() < length {
        let login = stack.login_demo().await;
        logins.record(login.is_ok());
        let call = stack.send(cached.clone()).await;
        calls.record(call.is_ok_and(|reply| reply.status == 200));
        let socket = stack.open_socket("/app/sales.qvf", &cookie).await;
        placements.record(socket.is_ok());
        round += 1;
    }
    let during = stack.envoy.process().rss();
    let held = stack.envoy.stat("http.http.downstream_rq_active").await?;
    let upstream = stack.envoy.stat("cluster.pages.upstream_rq_active").await?;
    let shares = [&logins, &calls, &placements].map(Attempts::success_rate);
    println!(
        "{round} rounds in {:?}: logins, cached calls, placements {shares:?}; held {held:?}, upstream {upstream:?}; Envoy {before} KiB, then {during} KiB",
        started_at.elapsed()
    );
    assert!(shares.iter().all(|share| *share >= 0.95), "{shares:?}");
    assert!(
        upstream.unwrap_or_default() < 100,
        "incomplete requests reached the upstream: {upstream:?}"
    );
    flood.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_request_without_its_body_ends_by_the_request_timeout() -> Result<()> {
    for minimal in [false, true] {
        let stand_in = FakeService::start().await?;
        stand_in.set_response(FakeResponse::json(200, &json!({})));
        let mut builder = Stack::builder().engines(1).fake_service(stand_in);
        if minimal {
            builder = builder.minimal();
        }
        let stack = builder.envoy_text("60s", "1s").start().await?;
        let connection = Http2::connect_plain(stack.address()).await?;
        let ended = tokio::time::timeout(LIMIT, connection.send_without_body(login_without_body()));
        assert_eq!(ended.await??.status, 408);
        let upstream = stack.envoy.stat("cluster.pages.upstream_rq_total").await?;
        assert_eq!(upstream, Some(0), "it was sent on");
        let whole = Call::post_form("/login", &[("username", "demo")]);
        assert_eq!(stack.send(whole).await?.status, 200);
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_too_large_never_reaches_the_service() -> Result<()> {
    let stand_in = FakeService::start().await?;
    stand_in.set_response(FakeResponse::json(200, &json!({})));
    let stack = Stack::builder()
        .engines(1)
        .fake_service(stand_in)
        .start()
        .await?;
    for (bytes, status) in [(65_536, 200), (65_537, 413)] {
        let call = Call::new("POST", "/session/renew").body("a".repeat(bytes));
        assert_eq!(stack.send(call).await?.status, status, "{bytes} bytes");
    }
    let asked = stack.fake_service()?.requests();
    let renewals = asked.iter().filter(|asked| asked.path == "/session/renew");
    assert_eq!(renewals.count(), 1);
    Ok(())
}

#[tokio::test]
async fn the_filter_rejects_a_request_before_its_body_arrives() -> Result<()> {
    let routes = json!([{"prefix": "/app/", "action": "place"}]);
    let builder = Stack::builder().engines(1);
    let stack = builder
        .filter_config(&json!({"routes": routes}))
        .start()
        .await?;
    let connection = Http2::connect_plain(stack.address()).await?;
    let refused =
        tokio::time::timeout(LIMIT, connection.send_without_body(login_without_body())).await??;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (404, "no-route")
    );
    Ok(())
}
