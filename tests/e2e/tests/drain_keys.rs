//! A drained engine of keys, through two Envoys: the sockets of a key close at one time on every Envoy, the keys spread over
//! the drain, and all clients of a key meet on its next engine.

use berth_harness::{Result, Stack, WebSocket};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const ROOMS: usize = 12;
const SOCKETS_PER_ROOM: usize = 4;
const DRAIN_DURATION: Duration = Duration::from_secs(16);
/// Sockets of a key close within a tick of each worker; the rest is the delay of a busy machine.
const TOGETHER: Duration = Duration::from_secs(3);
/// Long, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(90);
const DRAINED_CODE: u16 = 4503;

struct Closed {
    room: usize,
    code: Option<u16>,
    at: Instant,
    /// The client's next socket, which stays open.
    _again: WebSocket,
}

async fn open_socket(to: SocketAddr, room: usize, cookie: &str) -> Result<WebSocket> {
    let path = format!("/app/room-{room}");
    let upgrade = WebSocket::upgrade(to, &path, &[("cookie", cookie)]).await?;
    let mut socket = upgrade.into_socket()?;
    // The engine's first message.
    socket.next_message().await?;
    Ok(socket)
}

/// A client that keeps sending, and reconnects once when its socket is closed.
async fn run_client(
    mut socket: WebSocket,
    to: SocketAddr,
    room: usize,
    cookie: String,
) -> Result<Closed> {
    let code = socket.send_until_closed(LIMIT).await?;
    let at = Instant::now();
    let again = open_socket(to, room, &cookie).await?;
    Ok(Closed {
        room,
        code,
        at,
        _again: again,
    })
}

fn check_closes(closed: &[Closed]) {
    let codes: BTreeSet<_> = closed.iter().map(|one| one.code).collect();
    assert_eq!(codes, BTreeSet::from([Some(DRAINED_CODE)]));
    let mut rooms: BTreeMap<usize, Vec<Instant>> = BTreeMap::new();
    for one in closed {
        rooms.entry(one.room).or_default().push(one.at);
    }
    let spread = |times: &[Instant]| {
        let (first, last) = (times.iter().min(), times.iter().max());
        first
            .zip(last)
            .map_or(Duration::ZERO, |(first, last)| *last - *first)
    };
    for (room, times) in &rooms {
        assert_eq!(times.len(), SOCKETS_PER_ROOM);
        let took = spread(times);
        assert!(
            took <= TOGETHER,
            "the sockets of room {room} closed within {took:?}"
        );
    }
    let all: Vec<_> = closed.iter().map(|one| one.at).collect();
    let took = spread(&all);
    // The moment of a key is random: twelve of them are this close together once in a million runs.
    assert!(
        took >= DRAIN_DURATION.mul_f64(0.2),
        "all closed within {took:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sockets_of_a_key_close_together_and_meet_again_on_one_engine() -> Result<()> {
    let client =
        json!({"name": "ops", "role": "operator", "secret": {"inline": "operator-secret-1"}});
    let stack = Stack::builder()
        .engines(3)
        .envoys(2)
        .envoy_concurrency(2)
        .service_config(&json!({
            "api": {"clients": [client]},
            "placement": {"max_streams_per_session": 0},
            "routes": [{"path": "/app/{room}", "pool": "qix", "open": "nothing", "affinity": {"key": "{room}"}}],
        }))
        .start()
        .await?;
    let service = stack.service.as_ref().ok_or("no service")?;
    let at = format!("http://{}", service.addr);
    let run = |words: &[&str]| {
        tokio::task::block_in_place(|| service.run_command(&[words, &["--service", &at]].concat()))
    };
    let addresses = [stack.address(), stack.further_envoys[0].http];
    let cookie = stack.login_demo().await?;
    for engine in ["engine-1", "engine-2"] {
        run(&["engines", "drain", engine, "--over", "0s"])?;
    }
    let mut sockets = Vec::new();
    for room in 0..ROOMS {
        for to in addresses.into_iter().cycle().take(SOCKETS_PER_ROOM) {
            sockets.push((open_socket(to, room, &cookie).await?, to, room));
        }
    }
    for engine in ["engine-1", "engine-2"] {
        run(&["engines", "undrain", engine])?;
    }
    let clients = sockets.into_iter();
    let mut clients: JoinSet<_> = clients
        .map(|(socket, to, room)| run_client(socket, to, room, cookie.clone()))
        .collect();
    let over = format!("{}s", DRAIN_DURATION.as_secs());
    run(&["engines", "drain", "engine-0", "--over", &over])?;
    let mut closed = Vec::new();
    while let Some(one) = clients.join_next().await {
        closed.push(one??);
    }
    check_closes(&closed);

    // No WebSocket has closed again, though the drains of the other engines ended only seconds ago.
    let listed = run(&["affinities", "ls", "qix", "-o", "json"])?;
    let listed: Vec<Value> = serde_json::from_str(&listed)?;
    assert_eq!(listed.len(), ROOMS);
    for key in &listed {
        assert_ne!(key["engine"], "engine-0", "{key}");
        assert_eq!(key["streams"], SOCKETS_PER_ROOM, "{key}");
    }
    let engines: BTreeSet<_> = listed.iter().map(|key| key["engine"].to_string()).collect();
    assert_eq!(engines.len(), 2, "{engines:?}");
    Ok(())
}
