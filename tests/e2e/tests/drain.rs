//! Drained engines, through the whole stack: they receive no new placements, their sockets close spread over the
//! drain duration, and clients that reconnect are placed on other engines.

use berth_harness::engine::Engine;
use berth_harness::{Result, Stack, WebSocket, wait};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const PATH: &str = "/app/sales.qvf";
const SOCKETS: usize = 60;
const DRAIN_DURATION: Duration = Duration::from_secs(12);
/// The interval in which closes are counted: ten of sixty at an even rate.
const WINDOW: Duration = Duration::from_secs(2);
/// Long, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
/// Berth's close code for a drained engine, from the range 4000 to 4999 that RFC 6455 reserves for private use.
const DRAINED_CODE: u16 = 4503;

/// A client that keeps sending, and reconnects once when its socket is closed.
async fn run_client(to: SocketAddr, mut socket: WebSocket, cookie: String) -> Result<CloseRecord> {
    let code = socket.send_until_closed(LIMIT).await?;
    let at = Instant::now();
    let again = open_sockets(to, &cookie, 1).await?;
    Ok(CloseRecord {
        closed_at: at,
        code,
        _reconnected: again,
    })
}

struct CloseRecord {
    closed_at: Instant,
    code: Option<u16>,
    /// The new socket, which stays open.
    _reconnected: Vec<WebSocket>,
}

async fn open_sockets(to: SocketAddr, cookie: &str, count: usize) -> Result<Vec<WebSocket>> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        let upgrade = WebSocket::upgrade(to, PATH, &[("cookie", cookie)]).await?;
        let mut socket = upgrade.into_socket()?;
        // The engine's first message.
        socket.next_message().await?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Number of engine sessions that each engine has created.
async fn session_counts(stack: &Stack) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    for engine in &stack.engines {
        all.push(engine.stats().await?.created_total);
    }
    Ok(all)
}

/// Starts a client on each socket. Each client keeps sending and reconnects once.
fn start_clients(
    to: SocketAddr,
    sockets: Vec<WebSocket>,
    cookie: &str,
) -> JoinSet<Result<CloseRecord>> {
    let clients = sockets.into_iter();
    clients
        .map(|socket| run_client(to, socket, cookie.to_owned()))
        .collect()
}

/// Checks that all sockets are closed as drained and spread over the drain duration.
async fn check_even_closes(mut clients: JoinSet<Result<CloseRecord>>) -> Result<()> {
    let mut closed = Vec::new();
    while let Some(one) = clients.join_next().await {
        closed.push(one??);
    }
    closed.sort_by_key(|one| one.closed_at);
    let codes: Vec<_> = closed.iter().map(|one| one.code).collect();
    assert_eq!(codes, [Some(DRAINED_CODE); SOCKETS]);

    // No interval has more than one and a half times its share, and the closes take most of the duration.
    let share = SOCKETS as f64 * WINDOW.as_secs_f64() / DRAIN_DURATION.as_secs_f64();
    let after = |from: Instant| {
        let within = |one: &&CloseRecord| (from..from + WINDOW).contains(&one.closed_at);
        closed.iter().filter(within).count()
    };
    let peak = closed.iter().map(|one| after(one.closed_at)).max();
    let peak = peak.ok_or("no socket")?;
    assert!(
        peak as f64 <= 1.5 * share,
        "{peak} within {WINDOW:?}, {share} would be even"
    );
    let (first, last) = (closed.first(), closed.last());
    let took = first
        .zip(last)
        .map(|(first, last)| last.closed_at - first.closed_at);
    let took = took.ok_or("no socket")?;
    assert!(
        took >= DRAIN_DURATION.mul_f64(0.8),
        "all closed within {took:?}"
    );
    Ok(())
}

#[tokio::test]
async fn sockets_of_a_drained_engine_close_evenly_and_clients_reconnect_elsewhere() -> Result<()> {
    let secret =
        json!({"name": "ops", "role": "operator", "secret": {"inline": "operator-secret-1"}});
    let stack = Stack::builder()
        .engines(2)
        .envoy_concurrency(2)
        .service_config(&json!({"api": {"clients": [secret]}}))
        .start()
        .await?;
    let to = stack.address();
    let service = stack.service.as_ref().ok_or("no service")?;
    let at = format!("http://{}", service.addr);
    let engines = |words: &[&str]| {
        let words: Vec<_> = ["engines"].iter().chain(words).copied().collect();
        service.run_command(&[&words[..], &["--service", &at]].concat())
    };
    let cookie = stack.login_demo().await?;
    // The other engine is drained, so everything is placed on the first.
    engines(&["drain", "engine-1", "--over", "0s"])?;
    let sockets = open_sockets(to, &cookie, SOCKETS).await?;
    assert_eq!(session_counts(&stack).await?, [SOCKETS as u64, 0]);
    engines(&["undrain", "engine-1"])?;

    let clients = start_clients(to, sockets, &cookie);
    let over = format!("{}s", DRAIN_DURATION.as_secs());
    engines(&["drain", "engine-0", "--over", &over])?;
    check_even_closes(clients).await?;

    // All clients are on the other engine, and so is a new one.
    let _more = open_sockets(to, &cookie, 1).await?;
    assert_eq!(
        session_counts(&stack).await?,
        [SOCKETS as u64, SOCKETS as u64 + 1]
    );
    Ok(())
}

#[tokio::test]
async fn an_engine_that_is_drained_by_discovery_closes_its_sockets_in_the_same_way() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let list = dir.path().join("engines.yaml");
    let tell = |engines: &[Engine], drained: &str| -> Result<()> {
        let engines: Vec<_> = engines.iter().map(|engine| {
            json!({"name": engine.name, "ip": engine.api.ip(), "port": engine.api.port(), "metrics_port": engine.metrics.port(), "draining": engine.name == drained})
        }).collect();
        // A rename replaces the file atomically.
        let next = dir.path().join("next.yaml");
        std::fs::write(&next, json!({"engines": engines}).to_string())?;
        Ok(std::fs::rename(next, &list)?)
    };
    tell(&[], "")?;
    let over = format!("{}s", DRAIN_DURATION.as_secs());
    let stack = Stack::builder()
        .engines(2)
        .envoy_concurrency(2)
        .pool(
            &json!({"discovery": [{"file": {"path": list, "poll": "200ms"}}], "drain_duration": over}),
        )
        .start()
        .await?;
    let to = stack.address();
    let cookie = stack.login_demo().await?;
    // The other engine is drained, so everything is placed on the first.
    tell(&stack.engines, "engine-1")?;
    let placed = || async { open_sockets(to, &cookie, 1).await.ok() };
    let mut sockets = wait::poll_until("the first engine", LIMIT, placed).await?;
    sockets.extend(open_sockets(to, &cookie, SOCKETS - 1).await?);
    let clients = start_clients(to, sockets, &cookie);
    tell(&stack.engines, "engine-0")?;
    check_even_closes(clients).await?;
    assert_eq!(session_counts(&stack).await?, [SOCKETS as u64; 2]);
    Ok(())
}
