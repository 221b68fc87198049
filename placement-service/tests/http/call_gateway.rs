//! A gateway with a call stream (gRPC `berth.v1.Gateway/Calls`). It uses only HTTP/2 and protobuf, no gRPC library.

use crate::site::Site;
use axum::body::{Body, Bytes};
use berth_api::{CALLS_PATH, Call, Reply};
use futures_util::stream;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
/// HTTP/2's default initial window size (RFC 9113, section 6.9.2).
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;

/// A gateway with one call stream.
pub(crate) struct Gateway {
    /// `None`: the gateway has ended its side of the stream.
    pub(crate) calls: Option<mpsc::UnboundedSender<Bytes>>,
    pub(crate) status: u16,
    response: Incoming,
    bytes: Vec<u8>,
    replies: VecDeque<Reply>,
    /// The gRPC status; set when the stream has ended with trailers.
    pub(crate) grpc_status: Option<String>,
}

impl Gateway {
    pub(crate) async fn open(site: &Site, headers: &[(&str, &str)]) -> Self {
        Self::connect(site.address, headers, DEFAULT_WINDOW).await
    }

    /// `window`: how many bytes of unread replies may be in flight.
    pub(crate) async fn connect(at: SocketAddr, headers: &[(&str, &str)], window: u32) -> Self {
        let stream = TcpStream::connect(at).await.unwrap();
        let (mut requests, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let (calls, sent) = mpsc::unbounded_channel::<Bytes>();
        let next = |mut sent: mpsc::UnboundedReceiver<Bytes>| async {
            sent.recv()
                .await
                .map(|bytes| (Ok::<_, Infallible>(bytes), sent))
        };
        let sent = Body::from_stream(stream::unfold(sent, next));
        let mut request = Request::post(format!("http://berth{CALLS_PATH}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = requests.send_request(request.body(sent).unwrap());
        let answer = timeout(TIMEOUT, answer).await.unwrap().unwrap();
        let mut gateway = Self {
            calls: Some(calls),
            status: answer.status().as_u16(),
            response: answer.into_body(),
            bytes: Vec::new(),
            replies: VecDeque::new(),
            grpc_status: None,
        };
        if gateway.status == 200 {
            let first = gateway.next_reply().await;
            assert_eq!(first, Some(Reply::greeting()), "the service greets");
        }
        gateway
    }

    pub(crate) fn send_message(&self, message: &[u8]) {
        // Not compressed, then the length: a Length-Prefixed-Message of gRPC over HTTP/2.
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        self.calls.as_ref().unwrap().send(frame.into()).unwrap();
    }

    pub(crate) fn call(&self, id: u64, path: &str, body: impl ToString) {
        let (path, body) = (path.to_owned(), body.to_string().into_bytes());
        self.send_message(&Call { id, path, body }.encode_to_vec());
    }

    /// The next reply; `None` when the stream has ended.
    pub(crate) async fn next_reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Some(reply);
            }
            let frame = poll_fn(|cx| Pin::new(&mut self.response).poll_frame(cx));
            match timeout(TIMEOUT, frame).await.unwrap()?.ok()?.into_data() {
                Ok(chunk) => self.bytes.extend(chunk),
                Err(trailers) => {
                    let trailers = trailers.into_trailers().unwrap();
                    let status = trailers["grpc-status"].to_str().unwrap();
                    self.grpc_status = Some(status.to_owned());
                }
            }
            while let Some((head, rest)) = self.bytes.split_first_chunk::<5>() {
                let [0, length @ ..] = *head else {
                    panic!("compressed");
                };
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap();
                let Some((message, rest)) = rest.split_at_checked(length) else {
                    break;
                };
                self.replies.push_back(Reply::decode(message).unwrap());
                self.bytes = rest.to_vec();
            }
        }
    }
}

pub(crate) fn token_request_body(session: &str) -> String {
    json!({ "session": session }).to_string()
}
