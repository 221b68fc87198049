//! Login sessions and their open sockets, through the whole stack: two Envoys with two workers each, the real
//! service. What ends a session closes its sockets everywhere (S34), what keeps it alive (S12), and what a lost
//! feed does (S36).

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test's own steps may fail it, and what it measures is for people"
)]

use berth_harness::{Call, Result, Stack, WebSocket, wait};
use futures_util::StreamExt;
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const PATH: &str = "/app/sales.qvf";
/// Generous: the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
/// No socket is held for longer.
const HELD: Duration = Duration::from_secs(600);
/// What one account's end may take on a busy machine; `make soak` prints the p99, which should be below one second.
const CLOSED_WITHIN: Duration = Duration::from_secs(8);
/// Time between two messages of a client that talks.
const TALK: Duration = Duration::from_millis(250);
const OPERATOR: &str = "operator-secret-1";

/// Sockets of one account: few in every run, 500 in `make soak`.
fn sockets_per_account() -> usize {
    if std::env::var_os("BERTH_SOAK").is_some() {
        500
    } else {
        60
    }
}

async fn open(to: SocketAddr, cookie: &str) -> Result<WebSocket> {
    let mut socket = WebSocket::upgrade(to, PATH, &[("cookie", cookie)])
        .await?
        .open()?;
    socket.next().await?;
    Ok(socket)
}

/// How a socket ended: when, and with which close code.
#[derive(Debug)]
struct End {
    at: Instant,
    chatty: bool,
    code: Option<u16>,
}

/// Keeps a socket until it is closed; a chatty one talks all the time, the others never say a word.
async fn keep(mut socket: WebSocket, chatty: bool) -> Result<End> {
    let mut code = None;
    let began = Instant::now();
    while began.elapsed() < HELD {
        if chatty && socket.send(Message::text("{}")).await.is_err() {
            break;
        }
        let wait = if chatty { TALK } else { HELD };
        match tokio::time::timeout(wait, heard(&mut socket)).await {
            Err(_) => {}
            Ok(None) => break,
            Ok(Some(frame)) => {
                code = frame;
                break;
            }
        }
    }
    let at = Instant::now();
    if at.duration_since(began) >= HELD {
        return Err("a socket stays open".into());
    }
    Ok(End { at, chatty, code })
}

/// Listens until a close frame comes, with its code, or the socket breaks.
async fn heard(socket: &mut WebSocket) -> Option<Option<u16>> {
    loop {
        // Without a limit of its own: an idle socket says nothing for as long as the test takes.
        match socket.stream.next().await {
            Some(Ok(Message::Close(frame))) => return Some(frame.map(|frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

/// Opens so many sockets of one login session, by turns on every gateway, half of them chatty.
async fn hold(gateways: &[SocketAddr], cookie: &str, count: usize) -> Result<JoinSet<Result<End>>> {
    const AT_ONCE: usize = 16;
    let mut opening = JoinSet::new();
    let mut ends = JoinSet::new();
    for index in 0..count {
        let (to, cookie) = (gateways[index % gateways.len()], cookie.to_owned());
        opening.spawn(async move { open(to, &cookie).await.map(|socket| (index, socket)) });
        while opening.len() >= AT_ONCE || (index + 1 == count && !opening.is_empty()) {
            let Some(opened) = opening.join_next().await else {
                break;
            };
            let (index, socket) = opened??;
            // The gateways take turns, too.
            ends.spawn(keep(socket, (index / gateways.len()).is_multiple_of(2)));
        }
    }
    Ok(ends)
}

async fn streams(stack: &Stack) -> Result<u64> {
    let service = stack.service.as_ref().ok_or("no service")?;
    let text = Call::get("/metrics").send(service.addr).await?.text();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("berth_streams{"));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

async fn known(stack: &Stack, count: usize) -> Result<()> {
    let all = || async { (streams(stack).await.ok()? == count as u64).then_some(()) };
    wait::until(&format!("the service knows {count} streams"), LIMIT, all).await
}

/// Every socket must close after `ended`; prints how long that took.
async fn closed(
    what: &str,
    ended: Instant,
    mut ends: JoinSet<Result<End>>,
    code: u16,
) -> Result<()> {
    let mut all = vec![];
    while let Some(end) = ends.join_next().await {
        all.push(end??);
    }
    let times = |chatty: bool| {
        let mut times: Vec<Duration> = all
            .iter()
            .filter(|end| end.chatty == chatty)
            .map(|end| end.at.saturating_duration_since(ended))
            .collect();
        times.sort();
        times
    };
    let p99 = |times: &[Duration]| times[(times.len() * 99).div_ceil(100) - 1];
    let (talked, silent) = (times(true), times(false));
    let with_code = all.iter().filter(|end| end.code == Some(code)).count();
    println!(
        "{what}: {} sockets closed; p99 chatty {:?}, idle {:?}; {with_code} of {} chatty ones saw {code}",
        all.len(),
        p99(&talked),
        p99(&silent),
        talked.len(),
    );
    assert!(
        all.iter().all(|end| end.at >= ended),
        "{what}: none before its time"
    );
    assert!(p99(&talked).max(p99(&silent)) < CLOSED_WITHIN, "{what}");
    assert!(
        with_code * 10 >= talked.len() * 8,
        "{what}: {with_code} of {} with {code}",
        talked.len()
    );
    assert!(
        all.iter()
            .all(|end| end.code.is_none() || end.code == Some(code)),
        "{what}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_a_session_closes_its_sockets_on_every_gateway() -> Result<()> {
    let count = sockets_per_account();
    let operator = json!([{"name": "ops", "role": "operator", "secret": {"inline": OPERATOR}}]);
    let mut stack = Stack::builder()
        .engines(2)
        .envoys(2)
        .envoy_concurrency(2)
        .service_config(&json!({"api": {"clients": operator}}))
        .start()
        .await?;
    let mut gateways = vec![stack.http()];
    gateways.extend(stack.further_envoys.iter().map(|envoy| envoy.http));
    for name in ["ada", "bob", "eve"] {
        stack
            .service()?
            .add_account(name, "some-password-1", &["user"])?;
    }
    let demo = stack.login_demo().await?;
    let ada = stack.login("ada", "some-password-1").await?;
    let bob = stack.login("bob", "some-password-1").await?;
    let eve = stack.login("eve", "some-password-1").await?;
    let (logged_out, ended, locked, kept) = (
        hold(&gateways, &demo, count).await?,
        hold(&gateways, &ada, count).await?,
        hold(&gateways, &bob, count).await?,
        hold(&gateways, &eve, count).await?,
    );
    known(&stack, 4 * count).await?;
    let service = stack.service()?.addr;
    let origin = format!("http://{}", stack.http());

    let began = Instant::now();
    let reply = stack
        .send(
            Call::new("POST", "/logout")
                .cookie(&demo)
                .header("origin", &origin),
        )
        .await?;
    assert!(reply.status < 400, "{} {}", reply.status, reply.text());
    closed("logout", began, logged_out, 4403).await?;

    let began = Instant::now();
    let bearer = format!("Bearer {OPERATOR}");
    let end = Call::new("DELETE", "/v1/sessions?account=ada").header("authorization", &bearer);
    let reply = end.send(service).await?;
    assert!(reply.status < 300, "{} {}", reply.status, reply.text());
    closed("ended by an operator", began, ended, 4403).await?;

    let began = Instant::now();
    stack.service()?.command(&["account", "lock", "bob"])?;
    closed("account locked", began, locked, 4403).await?;

    // Nobody else has noticed, and whoever was closed comes in nowhere.
    assert_eq!(kept.len(), count);
    known(&stack, count).await?;
    for to in gateways {
        for cookie in [&demo, &ada, &bob] {
            let refused = WebSocket::upgrade(to, PATH, &[("cookie", cookie)])
                .await?
                .refused()?;
            assert_eq!(refused.status, 401, "{}", refused.text());
        }
        open(to, &eve).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_session_closes_its_sockets_and_pushes_keep_nobody_alive() -> Result<()> {
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
    let began = Instant::now();
    let mut talks = open(stack.http(), &active).await?;
    // Of the active session too, and on another gateway: it lives by what is said on the first one.
    let mut listens = open(second, &active).await?;
    let mut over = vec![];
    for to in [stack.http(), second] {
        let mut socket = open(to, &idle).await?;
        over.push(tokio::spawn(async move {
            let mut pushed = 0_u32;
            while let Ok(message) = socket.next().await {
                if matches!(message, Message::Close(_)) {
                    break;
                }
                pushed += 1;
            }
            (Instant::now(), pushed)
        }));
    }
    let talking = async {
        while began.elapsed() < 2 * IDLE {
            talks.send(Message::text("{}")).await?;
            talks.next().await?;
            tokio::time::sleep(TALK).await;
        }
        Ok::<_, berth_harness::Error>(())
    };
    talking.await?;
    for end in over {
        let (at, pushed) = tokio::time::timeout(LIMIT, end).await??;
        let lived = at.duration_since(began);
        println!(
            "idle session: its socket was closed after {lived:?}, {pushed} messages from the engine notwithstanding"
        );
        assert!(pushed > 50, "the engine was chatty: {pushed}");
        assert!(
            lived >= IDLE - Duration::from_secs(1) && lived < IDLE + CLOSED_WITHIN,
            "{lived:?}"
        );
    }
    let reply = stack.send(Call::get("/api/whoami").cookie(&idle)).await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (440, "session-expired")
    );
    listens.next().await?;
    let reply = stack.send(Call::get("/api/whoami").cookie(&active)).await?;
    assert_eq!(
        reply.status, 200,
        "who was active by WebSocket alone is signed in"
    );
    Ok(())
}

#[tokio::test]
async fn without_the_service_nobody_gets_in_and_open_sockets_stay() -> Result<()> {
    let filter = json!({"service": {"timeout_ms": 1_000}});
    let mut stack = Stack::builder()
        .engines(1)
        .filter_config(&filter)
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let mut socket = stack.socket(PATH, &cookie).await?;
    known(&stack, 1).await?;
    let ask = Call::get("/api/whoami").cookie(&cookie);
    assert_eq!(stack.send(ask.clone()).await?.status, 200);

    stack.service()?.freeze();
    let frozen = Instant::now();
    let mut served = Duration::ZERO;
    while frozen.elapsed() < Duration::from_secs(14) {
        let began = frozen.elapsed();
        let reply = stack.send(ask.clone()).await?;
        // A cached token may be used, but not for longer than the feed may be silent.
        match reply.status {
            200 => served = began,
            503 | 504 => {}
            other => return Err(format!("{other} {}", reply.text()).into()),
        }
        socket.send(Message::binary(b"here".to_vec())).await?;
        assert_eq!(socket.next().await?, Message::binary(b"here".to_vec()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("served for {served:?} after the service had stopped");
    assert!(served < Duration::from_secs(12), "{served:?}");
    let refused = stack
        .upgrade(PATH, &[("cookie", &cookie)])
        .await?
        .refused()?;
    assert!([503, 504].contains(&refused.status), "{}", refused.status);

    stack.service()?.resume();
    let back = || async { (stack.send(ask.clone()).await.ok()?.status == 200).then_some(()) };
    wait::until("the service is back", LIMIT, back).await?;
    socket.send(Message::binary(b"here".to_vec())).await?;
    socket.next().await?;

    // The service dies and its successor learns of the socket, and of its session's end meanwhile.
    stack.service()?.kill();
    stack
        .service()?
        .command(&["sessions", "end", "--account", "demo"])?;
    socket.send(Message::binary(b"here".to_vec())).await?;
    socket.next().await?;
    stack.service()?.restart().await?;
    let end = keep(socket, true).await?;
    assert_eq!(end.code, Some(4403));
    known(&stack, 0).await
}
