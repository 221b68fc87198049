//! Open sockets: every byte arrives, regardless of the pieces in which it was sent.

use berth_harness::client::upgrade_head;
use berth_harness::{Result, Stack};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Bytes without short repetitions, so that a lost or duplicate piece is noticed.
fn pseudorandom_bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(step).take(length).collect()
}

#[tokio::test]
async fn fifty_megabytes_go_both_ways_unchanged() -> Result<()> {
    const SIZE: usize = 50 * 1024 * 1024;
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let socket = stack.open_socket("/app/sales.qvf", &cookie).await?;
    let sent = pseudorandom_bytes(SIZE);
    let (mut out, mut back) = socket.stream.split();
    let pieces: Vec<Message> = sent
        .chunks(1 << 20)
        .map(|piece| Message::binary(piece.to_vec()))
        .collect();
    let sending = tokio::spawn(async move {
        for piece in pieces {
            out.send(piece).await?;
        }
        out.flush().await
    });
    let mut received = Vec::with_capacity(SIZE);
    while received.len() < SIZE {
        match back.next().await.ok_or("the socket has ended")?? {
            Message::Binary(piece) => received.extend_from_slice(&piece),
            other => return Err(format!("unexpected: {other:?}").into()),
        }
    }
    sending.await??;
    assert!(sent == received, "the bytes differ");
    Ok(())
}

#[tokio::test]
async fn one_message_of_many_fragments_arrives_whole() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let mut socket = stack.open_socket("/app/sales.qvf", &cookie).await?;
    let sent = pseudorandom_bytes(300_000);
    let pieces: Vec<&[u8]> = sent.chunks(70_001).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let data = if index == 0 {
            Data::Binary
        } else {
            Data::Continue
        };
        let last = index + 1 == pieces.len();
        let frame = Frame::message(piece.to_vec(), OpCode::Data(data), last);
        socket.send(Message::Frame(frame)).await?;
        socket.send(Message::Ping(vec![1].into())).await?;
    }
    assert_eq!(socket.next_message().await?, Message::binary(sent));
    Ok(())
}

#[tokio::test]
async fn frames_sent_with_the_upgrade_request_are_not_lost() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let mut client = TcpStream::connect(stack.address()).await?;
    let mut bytes = upgrade_head(stack.address(), "/app/sales.qvf", &cookie).into_bytes();
    // A masked binary frame of five bytes. Its mask is zero, so the payload is unchanged.
    bytes.extend_from_slice(&[0x82, 0x85, 0, 0, 0, 0]);
    bytes.extend_from_slice(b"early");
    client.write_all(&bytes).await?;
    let mut received = vec![];
    while !received.windows(7).any(|piece| piece == b"\x82\x05early") {
        let mut piece = [0; 4096];
        let count = client.read(&mut piece).await?;
        if count == 0 {
            let text = String::from_utf8_lossy(&received).into_owned();
            return Err(format!("the early frame got no echo: {text}").into());
        }
        received.extend_from_slice(&piece[..count]);
    }
    assert!(received.starts_with(b"HTTP/1.1 101 "));
    Ok(())
}

#[tokio::test]
async fn a_close_from_either_side_reaches_the_other() -> Result<()> {
    let mut stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let mut socket = stack.open_socket("/app/sales.qvf", &cookie).await?;
    socket.send(Message::Close(None)).await?;
    assert!(matches!(socket.next_message().await?, Message::Close(_)));
    let mut socket = stack.open_socket("/app/sales.qvf", &cookie).await?;
    stack.engines[0].kill();
    assert!(!matches!(
        socket.next_message().await,
        Ok(Message::Binary(_) | Message::Text(_))
    ));
    Ok(())
}
