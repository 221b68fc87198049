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
const HELD: Duration = Duration::from_secs(600);
/// Upper bound for the close of one account's sockets on a machine that runs other tests.
pub(crate) const CLOSED_WITHIN: Duration = Duration::from_secs(8);
/// Upper bound in `make soak`, where this test runs alone.
const CLOSED_WITHIN_IN_SOAK: Duration = Duration::from_secs(1);
/// Interval between two messages of a sending client.
pub(crate) const TALK: Duration = Duration::from_millis(250);

pub(crate) async fn open(to: SocketAddr, cookie: &str) -> Result<WebSocket> {
    let mut socket = WebSocket::upgrade(to, PATH, &[("cookie", cookie)])
        .await?
        .open()?;
    socket.next().await?;
    Ok(socket)
}

/// The end of a socket: its time and its close code.
#[derive(Debug)]
pub(crate) struct End {
    at: Instant,
    chatty: bool,
    pub(crate) code: Option<u16>,
}

/// Holds a socket open until it is closed. A chatty one sends messages; the others are idle.
pub(crate) async fn keep(mut socket: WebSocket, chatty: bool) -> Result<End> {
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
        return Err("a socket is still open".into());
    }
    Ok(End { at, chatty, code })
}

/// Receives until a close frame or the end of the connection. Returns the close code if there is one.
async fn heard(socket: &mut WebSocket) -> Option<Option<u16>> {
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
pub(crate) async fn hold(
    gateways: &[SocketAddr],
    cookie: &str,
    count: usize,
) -> Result<JoinSet<Result<End>>> {
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
            // The chatty sockets also alternate over the gateways.
            ends.spawn(keep(socket, (index / gateways.len()).is_multiple_of(2)));
        }
    }
    Ok(ends)
}

/// Every socket must close after `ended` and within the limit. Prints how long that took.
pub(crate) async fn closed(
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
        "{what}: a socket closed too early"
    );
    let limit = if berth_harness::is_soak() {
        CLOSED_WITHIN_IN_SOAK
    } else {
        CLOSED_WITHIN
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
