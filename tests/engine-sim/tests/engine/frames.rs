//! Binary frames are echoed byte for byte, however they are fragmented. Other frames follow RFC 6455.

use crate::client::{connect, options, start_engine, token};
use berth_engine_sim::start;
use futures_util::SinkExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

#[tokio::test]
async fn fifty_megabytes_pass_both_ways() {
    let engine = start_engine().await;
    let mut client = connect(engine.api_addr(), "/app/x", "ann", None).await;
    client.read_state().await;
    let bytes: Vec<u8> = (0..50 << 20)
        .map(|index: u32| (index % 251) as u8)
        .collect();
    client.send(Message::binary(bytes.clone())).await;
    let echo = client.next_message().await.unwrap().into_data();
    assert!(echo == bytes, "{} bytes came back", echo.len());
}

#[tokio::test]
async fn fragments_are_one_message_and_pings_may_come_between() {
    let engine = start_engine().await;
    let mut client = connect(engine.api_addr(), "/app/x", "ann", None).await;
    client.read_state().await;
    let frame = |text: &'static [u8], code, last| {
        Message::Frame(Frame::message(text, OpCode::Data(code), last))
    };
    client.send(frame(b"one ", Data::Binary, false)).await;
    client.send(Message::Ping("alive?".into())).await;
    client.send(frame(b"two ", Data::Continue, false)).await;
    client.send(frame(b"three", Data::Continue, true)).await;
    assert_eq!(
        client.next_message().await,
        Some(Message::Pong("alive?".into()))
    );
    assert_eq!(
        client.next_message().await,
        Some(Message::binary("one two three"))
    );
}

#[tokio::test]
async fn a_frame_sent_together_with_the_upgrade_is_answered() {
    let engine = start_engine().await;
    let mut stream = TcpStream::connect(engine.api_addr()).await.unwrap();
    // A binary frame of one byte 'x', masked with zeros.
    let early_frame = [0x82, 0x81, 0, 0, 0, 0, b'x'];
    let mut request = format!(
        "GET /app/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        token("ann")
    )
    .into_bytes();
    request.extend(early_frame);
    stream.write_all(&request).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(&[0x82, 0x01, b'x']) {
        assert_ne!(
            stream.read_buf(&mut got).await.unwrap(),
            0,
            "closed too early"
        );
    }
    let text = String::from_utf8_lossy(&got);
    assert!(text.starts_with("HTTP/1.1 101 "));
    // The accept key of the example in RFC 6455, section 1.3.
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(text.contains("OnConnected"));
}

#[tokio::test]
async fn a_stop_closes_open_sockets_and_frees_the_ports() {
    let engine = start(options()).await.unwrap();
    let (api, metrics) = (engine.api_addr(), engine.metrics_addr());
    let mut client = connect(api, "/app/x", "ann", None).await;
    client.read_state().await;
    engine.stop().await;
    assert_eq!(client.next_message().await, None);
    assert!(client.socket.send(Message::binary("x")).await.is_err());
    let restarted = berth_engine_sim::Options {
        api,
        metrics,
        ..options()
    };
    start(restarted).await.unwrap();
}
