//! Sockets that stay open until they are closed: half of them send messages, the others are idle. Reports when each
//! closed and with which code. Does not know the cause.

use berth_harness::{Result, WebSocket};
use futures_util::StreamExt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::PATH;

/// Longest time that a socket is held open.
const MAX_HOLD: Duration = Duration::from_secs(600);
/// Upper bound for the close of one account's sockets on a machine that runs other tests.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(8);
/// Upper bound in `make soak`, where this test runs alone.
const CLOSE_TIMEOUT_IN_SOAK: Duration = Duration::from_secs(1);
/// Interval between two messages of a sending client.
pub(crate) const SEND_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) async fn open_socket(to: SocketAddr, cookie: &str) -> Result<WebSocket> {
    let mut socket = WebSocket::upgrade(to, PATH, &[("cookie", cookie)])
        .await?
        .into_socket()?;
    socket.next_message().await?;
    Ok(socket)
}

/// The end of a socket: its time and its close code.
#[derive(Debug)]
pub(crate) struct SocketEnd {
    closed_at: Instant,
    chatty: bool,
    pub(crate) code: Option<u16>,
}

/// Holds a socket open until it is closed. A chatty one sends messages; the others are idle.
pub(crate) async fn hold_socket(mut socket: WebSocket, chatty: bool) -> Result<SocketEnd> {
    let mut code = None;
    let started_at = Instant::now();
    while started_at.elapsed() < MAX_HOLD {
        if chatty && socket.send(Message::text("{}")).await.is_err() {
            break;
        }
        let wait = if chatty { SEND_INTERVAL } else { MAX_HOLD };
        match tokio::time::timeout(wait, await_close(&mut socket)).await {
            Err(_) => {}
            Ok(None) => break,
            Ok(Some(frame)) => {
                code = frame;
                break;
            }
        }
    }
    let at = Instant::now();
    if at.duration_since(started_at) >= MAX_HOLD {
        return Err("a socket is still open".into());
    }
    Ok(SocketEnd {
        closed_at: at,
        chatty,
        code,
    })
}

/// Receives until a close frame or the end of the connection. Returns the close code if there is one.
async fn await_close(socket: &mut WebSocket) -> Option<Option<u16>> {
    loop {
        // Without a time limit: an idle socket receives nothing for the whole test.
        match socket.stream.next().await {
            Some(Ok(Message::Close(frame))) => return Some(frame.map(|frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

/// Opens this number of sockets of one login session, alternating over the gateways. Half of them are chatty.
pub(crate) async fn hold_sockets(
    gateways: &[SocketAddr],
    cookie: &str,
    count: usize,
) -> Result<JoinSet<Result<SocketEnd>>> {
    const MAX_CONCURRENT: usize = 16;
    let mut opening = JoinSet::new();
    let mut ends = JoinSet::new();
    for index in 0..count {
        let (to, cookie) = (gateways[index % gateways.len()], cookie.to_owned());
        opening.spawn(async move { open_socket(to, &cookie).await.map(|socket| (index, socket)) });
        while opening.len() >= MAX_CONCURRENT || (index + 1 == count && !opening.is_empty()) {
            let Some(opened) = opening.join_next().await else {
                break;
            };
            let (index, socket) = opened??;
            // The chatty sockets also alternate over the gateways.
            ends.spawn(hold_socket(
                socket,
                (index / gateways.len()).is_multiple_of(2),
            ));
        }
    }
    Ok(ends)
}

/// Every socket must close after `ended` and within the limit. Prints how long that took.
pub(crate) async fn check_closed(
    what: &str,
    ended: Instant,
    mut ends: JoinSet<Result<SocketEnd>>,
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
            .map(|end| end.closed_at.saturating_duration_since(ended))
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
        all.iter().all(|end| end.closed_at >= ended),
        "{what}: a socket closed too early"
    );
    let limit = if berth_harness::is_soak() {
        CLOSE_TIMEOUT_IN_SOAK
    } else {
        CLOSE_TIMEOUT
    };
    for (kind, took) in [("chatty", p99(&talked)), ("idle", p99(&silent))] {
        assert!(took <= limit, "{what}: p99 of the {kind} ones is {took:?}");
    }
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
