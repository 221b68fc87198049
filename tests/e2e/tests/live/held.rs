//! Sockets that are held until something closes them: half of them talk all the time, the others never say a
//! word. Tells when each closed and with which code; knows nothing of why.

use berth_harness::{Result, WebSocket};
use futures_util::StreamExt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::PATH;

/// No socket is held for longer.
const HELD: Duration = Duration::from_secs(600);
/// What one account's end may take on a machine that other tests keep busy.
pub(crate) const CLOSED_WITHIN: Duration = Duration::from_secs(8);
/// What it may take in `make soak`, where this test is alone (S34).
const CLOSED_WITHIN_IN_SOAK: Duration = Duration::from_secs(1);
/// Time between two messages of a client that talks.
pub(crate) const TALK: Duration = Duration::from_millis(250);

pub(crate) async fn open(to: SocketAddr, cookie: &str) -> Result<WebSocket> {
    let mut socket = WebSocket::upgrade(to, PATH, &[("cookie", cookie)])
        .await?
        .open()?;
    socket.next().await?;
    Ok(socket)
}

/// How a socket ended: when, and with which close code.
#[derive(Debug)]
pub(crate) struct End {
    at: Instant,
    chatty: bool,
    pub(crate) code: Option<u16>,
}

/// Keeps a socket until it is closed; a chatty one talks all the time, the others never say a word.
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
            // The gateways take turns, too.
            ends.spawn(keep(socket, (index / gateways.len()).is_multiple_of(2)));
        }
    }
    Ok(ends)
}

/// Every socket must close after `ended`, and soon; prints how long that took.
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
        "{what}: none before its time"
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
