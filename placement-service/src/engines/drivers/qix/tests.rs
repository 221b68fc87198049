//! The driver with fake engines that misbehave on the wire.

use super::*;
use crate::engines::drivers::transport::EngineTransport;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CREATED: &str = r#"{"method":"OnConnected","params":{"qSessionState":"SESSION_CREATED"}}"#;
const OPENED: &str = r#"{"id":1,"result":{"qReturn":{"qHandle":1}}}"#;

/// An action of a fake engine after it has read the upgrade request.
#[derive(Clone)]
enum Action {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends a correct upgrade response.
    Upgrade,
    /// Does nothing for this time.
    Wait(Duration),
}

/// Runs a fake engine for one connection, which it closes after its last action.
async fn fake_engine(actions: Vec<Action>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap().0;
        let request = head(&mut stream).await;
        for action in actions {
            match action {
                Action::Send(bytes) => drop(stream.write_all(&bytes).await),
                Action::Upgrade => drop(stream.write_all(&accept(&request)).await),
                Action::Wait(duration) => tokio::time::sleep(duration).await,
            }
        }
    });
    address
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn accept(request: &str) -> Vec<u8> {
    let key = request.split("Sec-WebSocket-Key: ").nth(1).unwrap();
    let key = key.split("\r\n").next().unwrap();
    let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
    format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").into_bytes()
}

/// An unmasked frame. `first` is its first byte: FIN and the opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(u8::try_from(length).unwrap()),
        length => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

fn text(payload: &str) -> Action {
    Action::Send(frame(0x81, payload.as_bytes()))
}

fn send(bytes: &[u8]) -> Action {
    Action::Send(bytes.to_vec())
}

async fn prepare(actions: Vec<Action>) -> Result<RequestMutation, DriverFault> {
    let engine = fake_engine(actions).await;
    let now = Instant::now();
    let job = PrepareRequest {
        target: &OpenTarget::Document("x".into()),
        first_response_by: now + Duration::from_millis(300),
        ..PrepareRequest::plain(engine, now + Duration::from_millis(600))
    };
    Qix::new(Duration::from_secs(60), EngineTransport::default())
        .prepare(job)
        .await
}

#[tokio::test]
async fn messages_may_arrive_in_pieces_and_in_any_order() {
    let responses = [
        frame(0x81, CREATED.as_bytes()),
        frame(0x81, OPENED.as_bytes()),
    ]
    .concat();
    let linger = Action::Wait(Duration::from_secs(5));
    let (head, tail) = responses.split_at(40);
    let pieces = vec![
        Action::Upgrade,
        send(head),
        Action::Wait(Duration::from_millis(20)),
        send(tail),
        linger.clone(),
    ];
    let prepared = prepare(pieces).await.unwrap();
    assert_eq!(prepared.path, "/app/engineData/ttl/60");
    let ping = send(&frame(0x89, b"hello"));
    let notification = text(r#"{"method":"OnProgress","params":[1]}"#);
    let reordered = vec![
        Action::Upgrade,
        ping,
        text(OPENED),
        notification,
        text(CREATED),
        linger,
    ];
    prepare(reordered).await.unwrap();
}

#[tokio::test]
async fn each_misbehaviour_has_its_fault() {
    let huge = vec![b' '; 2 * 1024 * 1024];
    let long_wait = Action::Wait(Duration::from_secs(5));
    let cases = [
        ("closes at once", vec![], "connect"),
        ("speaks ssh", vec![send(b"SSH-2.0-x\r\n\r\n")], "malformed"),
        (
            "is a web server",
            vec![send(b"HTTP/1.1 200 OK\r\n\r\n")],
            "malformed",
        ),
        (
            "rejects the token",
            vec![send(b"HTTP/1.1 401 No\r\n\r\n")],
            "token-rejected",
        ),
        ("endless head", vec![send(&[b'x'; 20_000])], "malformed"),
        ("no response", vec![long_wait.clone()], "no-response"),
        (
            "no message when upgraded",
            vec![Action::Upgrade, long_wait.clone()],
            "no-response",
        ),
        ("closes when upgraded", vec![Action::Upgrade], "connect"),
        (
            "sends a close frame",
            vec![Action::Upgrade, send(&frame(0x88, b""))],
            "connect",
        ),
        (
            "speaks binary",
            vec![Action::Upgrade, send(&frame(0x82, b"x"))],
            "malformed",
        ),
        (
            "broken frame",
            vec![Action::Upgrade, send(&[0xff; 20])],
            "malformed",
        ),
        ("no json", vec![Action::Upgrade, text("hello")], "malformed"),
        (
            "huge message",
            vec![
                Action::Upgrade,
                send(&frame(0x81, &huge)),
                long_wait.clone(),
            ],
            "malformed",
        ),
        (
            "never finishes loading",
            vec![Action::Upgrade, text(CREATED), long_wait],
            "open-timeout",
        ),
        (
            "closes while it loads",
            vec![Action::Upgrade, text(CREATED)],
            "connect",
        ),
    ];
    for (description, actions, fault) in cases {
        assert_eq!(
            prepare(actions).await.unwrap_err().as_str(),
            fault,
            "{description}"
        );
    }
}

#[tokio::test]
async fn a_closed_port_is_a_connect_fault() {
    let engine = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    let job = PrepareRequest::plain(engine, deadline);
    assert_eq!(
        Qix::new(Duration::from_secs(60), EngineTransport::default())
            .prepare(job)
            .await
            .unwrap_err()
            .as_str(),
        "connect"
    );
}

#[tokio::test]
async fn a_lingering_connection_ends_when_the_engine_closes_or_after_a_second() {
    let lingering = LingeringConnections::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let engine = listener.local_addr().unwrap();
    let mut peers = Vec::new();
    for _ in 0..3 {
        lingering.add(TcpStream::connect(engine).await.unwrap());
        peers.push(listener.accept().await.unwrap().0);
    }
    assert_eq!(lingering.count(), 3);
    drop(peers.remove(0));
    let start = Instant::now();
    let count = async |expected_count: usize| {
        while lingering.count() > expected_count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    };
    assert!(count(2).await < Duration::from_secs(1));
    assert!(count(0).await >= Duration::from_millis(900));
    // The sweeper also handles a connection that is added after the list was empty.
    lingering.add(TcpStream::connect(engine).await.unwrap());
    drop(listener.accept().await.unwrap());
    count(0).await;
}
