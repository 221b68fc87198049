//! Login sessions and their open sockets, through the whole stack: two Envoys with two workers each and the real
//! service. Tests what closes sockets everywhere, what keeps a session active, and the loss of the service.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a wrong index fails the test; measurements are printed"
)]

mod open_sockets;

use berth_harness::{Call, Result, Stack, WebSocket, wait};
use open_sockets::{
    CLOSE_TIMEOUT, SEND_INTERVAL, check_closed, hold_socket, hold_sockets, open_socket,
};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

const PATH: &str = "/app/sales.qvf";
/// Long, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
const OPERATOR: &str = "operator-secret-1";

/// Sockets of one account: few in every run, 500 in `make soak`.
fn sockets_per_account() -> usize {
    if berth_harness::is_soak() { 500 } else { 60 }
}

async fn stream_count(stack: &Stack) -> Result<u64> {
    let service = stack.service.as_ref().ok_or("no service")?;
    let text = Call::get("/metrics").send(service.addr).await?.text();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("berth_streams{"));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

async fn await_streams(stack: &Stack, count: usize) -> Result<()> {
    let all = || async { (stream_count(stack).await.ok()? == count as u64).then_some(()) };
    wait::poll_until(&format!("the service knows {count} streams"), LIMIT, all).await
}

/// Starts a child session of that session on the same runtime and returns its cookie.
async fn start_child(service: SocketAddr, cookie: &str) -> Result<String> {
    let (name, id) = cookie.split_once('=').ok_or("no cookie")?;
    let token = Call::post_json("/v1/tokens", &json!({"session": id}));
    let token = token.send(service).await?.json();
    let parent = token["session_ref"].as_str().ok_or("no session")?;
    let start = Call::post_json(&format!("/v1/sessions/{parent}/children"), &json!({}));
    let start = start.header("authorization", &format!("Bearer {OPERATOR}"));
    let reply = start.send(service).await?;
    assert_eq!(reply.status, 201, "{}", reply.text());
    let child = reply.json();
    let id = child["id"].as_str().ok_or("no child")?;
    Ok(format!("{name}={id}"))
}

async fn log_out(stack: &Stack, cookie: &str) -> Result<()> {
    let origin = format!("http://{}", stack.address());
    let call = Call::new("POST", "/logout").cookie(cookie);
    let reply = stack.send(call.header("origin", &origin)).await?;
    assert!(reply.status < 400, "{} {}", reply.status, reply.text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_of_a_session_closes_its_sockets_on_every_gateway() -> Result<()> {
    let count = sockets_per_account();
    let operator = json!([{"name": "ops", "role": "operator", "secret": {"inline": OPERATOR}}]);
    let mut stack = Stack::builder()
        .engines(2)
        .envoys(2)
        .envoy_concurrency(2)
        .service_config(
            &json!({"api": {"clients": operator}, "placement": {"max_streams_per_session": 1_000}}),
        )
        .start()
        .await?;
    let mut gateways = vec![stack.address()];
    gateways.extend(stack.further_envoys.iter().map(|envoy| envoy.http));
    for name in ["ada", "bob", "eve", "kim"] {
        stack
            .service()?
            .add_account(name, "some-password-1", &["user"])?;
    }
    let demo = stack.login_demo().await?;
    let ada = stack.login("ada", "some-password-1").await?;
    let bob = stack.login("bob", "some-password-1").await?;
    let eve = stack.login("eve", "some-password-1").await?;
    let kim = stack.login("kim", "some-password-1").await?;
    let service = stack.service()?.addr;
    let child = start_child(service, &kim).await?;
    let (logged_out, ended, locked, of_child, kept) = (
        hold_sockets(&gateways, &demo, count).await?,
        hold_sockets(&gateways, &ada, count).await?,
        hold_sockets(&gateways, &bob, count).await?,
        hold_sockets(&gateways, &child, count).await?,
        hold_sockets(&gateways, &eve, count).await?,
    );
    await_streams(&stack, 5 * count).await?;

    let started_at = Instant::now();
    log_out(&stack, &demo).await?;
    check_closed("logout", started_at, logged_out, 4403).await?;

    // The sockets belong to the child session; the parent has none.
    let started_at = Instant::now();
    log_out(&stack, &kim).await?;
    check_closed("the parent logged out", started_at, of_child, 4403).await?;

    let started_at = Instant::now();
    let bearer = format!("Bearer {OPERATOR}");
    let end = Call::new("DELETE", "/v1/sessions?account=ada").header("authorization", &bearer);
    let reply = end.send(service).await?;
    assert!(reply.status < 300, "{} {}", reply.status, reply.text());
    check_closed("ended by an operator", started_at, ended, 4403).await?;

    let started_at = Instant::now();
    stack.service()?.run_command(&["account", "lock", "bob"])?;
    check_closed("account locked", started_at, locked, 4403).await?;

    // Other sessions keep their sockets, and every ended session is rejected on every gateway.
    assert_eq!(kept.len(), count);
    await_streams(&stack, count).await?;
    for to in gateways {
        for cookie in [&demo, &ada, &bob, &kim, &child] {
            let refused = WebSocket::upgrade(to, PATH, &[("cookie", cookie)])
                .await?
                .into_rejection()?;
            assert_eq!(refused.status, 401, "{}", refused.text());
        }
        open_socket(to, &eve).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_session_closes_its_sockets_despite_messages_from_the_engine() -> Result<()> {
    const IDLE: Duration = Duration::from_secs(12);
    let stack = Stack::builder()
        .engines(1)
        .envoys(2)
        .engine_args(&["--chatter-ms", "100"])
        .service_config(&json!({"session": {"idle_timeout": "12s"}}))
        .start()
        .await?;
    let second = stack.further_envoys.first().ok_or("one Envoy")?.http;
    let (active, idle) = (stack.login_demo().await?, stack.login_demo().await?);
    let started_at = Instant::now();
    let mut talks = open_socket(stack.address(), &active).await?;
    // A second socket of the active session, on the other gateway: the activity on the first one keeps it open.
    let mut listens = open_socket(second, &active).await?;
    let mut over = vec![];
    for to in [stack.address(), second] {
        let mut socket = open_socket(to, &idle).await?;
        over.push(tokio::spawn(async move {
            let mut pushed = 0_u32;
            while let Ok(message) = socket.next_message().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
                pushed += 1;
            }
            (Instant::now(), pushed)
        }));
    }
    let talking = async {
        while started_at.elapsed() < 2 * IDLE {
            talks.send(Message::text("{}")).await?;
            talks.next_message().await?;
            tokio::time::sleep(SEND_INTERVAL).await;
        }
        Ok::<_, berth_harness::Error>(())
    };
    talking.await?;
    for end in over {
        let (at, pushed) = tokio::time::timeout(LIMIT, end).await??;
        let lived = at.duration_since(started_at);
        println!(
            "idle session: its socket was closed after {lived:?}, despite {pushed} messages from the engine"
        );
        assert!(pushed > 50, "messages from the engine: {pushed}");
        assert!(
            lived >= IDLE - Duration::from_secs(1) && lived < IDLE + CLOSE_TIMEOUT,
            "{lived:?}"
        );
    }
    let reply = stack.send(Call::get("/api/whoami").cookie(&idle)).await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (440, "session-expired")
    );
    listens.next_message().await?;
    let reply = stack.send(Call::get("/api/whoami").cookie(&active)).await?;
    assert_eq!(reply.status, 200, "messages of the client are activity");
    Ok(())
}

#[tokio::test]
async fn without_the_service_requests_are_rejected_and_open_sockets_stay() -> Result<()> {
    let filter = json!({"service": {"timeout": "1s"}});
    let mut stack = Stack::builder()
        .engines(1)
        .filter_config(&filter)
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let mut socket = stack.open_socket(PATH, &cookie).await?;
    await_streams(&stack, 1).await?;
    let ask = Call::get("/api/whoami").cookie(&cookie);
    assert_eq!(stack.send(ask.clone()).await?.status, 200);

    stack.service()?.freeze();
    let frozen = Instant::now();
    let mut served = Duration::ZERO;
    while frozen.elapsed() < Duration::from_secs(14) {
        let started_at = frozen.elapsed();
        let reply = stack.send(ask.clone()).await?;
        // A cached token stays valid until the gateway has had no events for too long.
        match reply.status {
            200 => served = started_at,
            503 | 504 => {}
            other => return Err(format!("{other} {}", reply.text()).into()),
        }
        socket.send(Message::binary(b"here".to_vec())).await?;
        assert_eq!(
            socket.next_message().await?,
            Message::binary(b"here".to_vec())
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("served for {served:?} after the service had stopped");
    assert!(served < Duration::from_secs(12), "{served:?}");
    let refused = stack
        .upgrade(PATH, &[("cookie", &cookie)])
        .await?
        .into_rejection()?;
    assert!([503, 504].contains(&refused.status), "{}", refused.status);

    stack.service()?.resume();
    let back = || async { (stack.send(ask.clone()).await.ok()?.status == 200).then_some(()) };
    wait::poll_until("the service is back", LIMIT, back).await?;
    socket.send(Message::binary(b"here".to_vec())).await?;
    socket.next_message().await?;

    // The service is killed. The restarted service learns of the socket and of the end of its session meanwhile.
    stack.service()?.kill();
    stack
        .service()?
        .run_command(&["sessions", "end", "--account", "demo"])?;
    socket.send(Message::binary(b"here".to_vec())).await?;
    socket.next_message().await?;
    stack.service()?.restart().await?;
    let end = hold_socket(socket, true).await?;
    assert_eq!(end.code, Some(4403));
    await_streams(&stack, 0).await
}
