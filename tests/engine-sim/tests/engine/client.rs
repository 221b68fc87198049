//! A minimal client of the engine: tokens, sockets, JSON-RPC and HTTP.

use berth_engine_sim::{Document, Engine, Options, start};
use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue},
        protocol::WebSocketConfig,
    },
};

pub(crate) const SECRET: &str = "a secret for tests";
/// Upper bound of every wait in these tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// An engine with two documents that checks tokens.
pub(crate) fn options() -> Options {
    Options {
        jwt_secret: Some(SECRET.to_owned()),
        documents: vec![Document::new("a.qvf", 70), Document::new("b.qvf", 30)],
        ..Options::default()
    }
}

pub(crate) async fn start_engine() -> Engine {
    start(options()).await.unwrap()
}

pub(crate) fn token(user: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = json!({"sub": user, "exp": now.as_secs() + 60});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &claims, &key).unwrap()
}

/// An open socket.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    next: i64,
}

/// Opens a socket as `user`, with `X-Qlik-Session` if given.
pub(crate) async fn connect(addr: SocketAddr, path: &str, user: &str, id: Option<&str>) -> Client {
    let token = format!("Bearer {}", token(user));
    let mut headers = vec![("authorization", token.as_str())];
    headers.extend(id.map(|id| ("x-qlik-session", id)));
    connect_with_headers(addr, path, &headers).await.unwrap()
}

pub(crate) async fn connect_with_headers(
    addr: SocketAddr,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<Client, Error> {
    let mut request = format!("ws://{addr}{path}").into_client_request()?;
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        request
            .headers_mut()
            .append(HeaderName::from_static(name), value);
    }
    let stream = TcpStream::connect(addr).await?;
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    let (socket, _) =
        tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    Ok(Client { socket, next: 1 })
}

impl Client {
    /// The next message; `None` when the engine has closed the socket.
    pub(crate) async fn next_message(&mut self) -> Option<Message> {
        match timeout(TIMEOUT, self.socket.next())
            .await
            .expect("a message in time")
        {
            Some(Ok(Message::Close(_)) | Err(_)) | None => None,
            Some(Ok(message)) => Some(message),
        }
    }

    /// The next message as JSON.
    pub(crate) async fn next_json(&mut self) -> Value {
        let message = self.next_message().await.expect("a message");
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// Reads OnConnected and returns its session state.
    pub(crate) async fn read_state(&mut self) -> String {
        let hello = self.next_json().await;
        assert_eq!(hello["method"], "OnConnected");
        hello["params"]["qSessionState"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Makes one call. Returns the whole answer.
    pub(crate) async fn call(&mut self, handle: i64, method: &str, params: Value) -> Value {
        self.next += 1;
        let request = json!({
            "jsonrpc": "2.0", "id": self.next, "handle": handle, "method": method,
            "params": params,
        });
        self.send(Message::text(request.to_string())).await;
        let answer = self.next_json().await;
        assert_eq!(answer["id"], self.next);
        answer
    }

    pub(crate) async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while self.next_message().await.is_some() {}
    }
}

/// Waits until `condition` holds.
pub(crate) async fn wait_until(mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(TIMEOUT, poll).await.expect("the condition in time");
}

/// Sends one HTTP request. Returns status and body.
pub(crate) async fn send_http(
    addr: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let result = stream.read_to_string(&mut answer);
    timeout(TIMEOUT, result)
        .await
        .expect("an answer in time")
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

pub(crate) async fn get_json(addr: SocketAddr, path: &str) -> Value {
    let (status, body) = send_http(addr, "GET", path, "").await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}
