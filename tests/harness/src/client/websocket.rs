//! A WebSocket client. An upgrade returns a socket or the response that rejected it.

use super::{LIMIT, Reply};
use crate::Result;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{HeaderName, HeaderValue};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Interval between two messages of a client that keeps sending.
const SEND_INTERVAL: Duration = Duration::from_millis(20);

/// The result of an upgrade.
pub enum Upgrade {
    /// The server accepted it.
    Open(Box<WebSocket>),
    /// The server responded with another status than 101.
    Rejected(Reply),
}

impl Upgrade {
    /// The socket.
    ///
    /// # Errors
    /// When the server rejected it.
    pub fn into_socket(self) -> Result<WebSocket> {
        match self {
            Self::Open(socket) => Ok(*socket),
            Self::Rejected(reply) => {
                Err(format!("upgrade rejected: {} {}", reply.status, reply.text()).into())
            }
        }
    }

    /// The response that rejected the upgrade.
    ///
    /// # Errors
    /// When the server accepted it.
    pub fn into_rejection(self) -> Result<Reply> {
        match self {
            Self::Open(_) => Err("upgrade accepted".into()),
            Self::Rejected(reply) => Ok(reply),
        }
    }
}

/// The transport of a WebSocket: a TCP connection, or a stream of an HTTP/2 connection.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

/// An open WebSocket.
pub struct WebSocket {
    /// The socket itself, for operations that this type does not offer.
    pub stream: WebSocketStream<Box<dyn Carrier>>,
    /// The headers of the 101 response.
    pub headers: hyper::HeaderMap,
}

/// The bytes of an upgrade request, for tests that write to the connection themselves.
#[must_use]
pub fn upgrade_head(address: SocketAddr, path: &str, cookie: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\ncookie: {cookie}\r\n\r\n"
    )
}

/// A configuration without size limits.
pub(super) fn unlimited_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None)
}

impl WebSocket {
    /// Requests an upgrade with these headers in addition to the required ones.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn upgrade(
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Upgrade> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        for (name, value) in headers {
            let name = HeaderName::try_from(*name)?;
            request
                .headers_mut()
                .append(name, HeaderValue::try_from(*value)?);
        }
        let exchange = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Carrier> = Box::new(stream);
            client_async_with_config(request, stream, Some(unlimited_config())).await
        };
        match timeout(LIMIT, exchange)
            .await
            .map_err(|_| format!("upgrade {path}: no response in {LIMIT:?}"))?
        {
            Ok((stream, answer)) => Ok(Upgrade::Open(Box::new(Self {
                stream,
                headers: answer.into_parts().0.headers,
            }))),
            Err(WsError::Http(answer)) => {
                let (head, body) = answer.into_parts();
                let body = body.unwrap_or_default().into();
                Ok(Upgrade::Rejected(Reply {
                    status: head.status.as_u16(),
                    headers: head.headers,
                    body,
                }))
            }
            Err(error) => Err(format!("upgrade {path}: {error}").into()),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the socket is closed.
    pub async fn send(&mut self, message: Message) -> Result<()> {
        Ok(timeout(LIMIT, self.stream.send(message)).await??)
    }

    /// Sends a few bytes, which engines echo. Proves that the socket is open and that no byte is lost.
    ///
    /// # Errors
    /// When the socket is closed, or another message arrives.
    pub async fn check_echo(&mut self) -> Result<()> {
        let message = Message::binary(b"still here".to_vec());
        self.send(message.clone()).await?;
        match self.next_message().await? {
            reply if reply == message => Ok(()),
            reply => Err(format!("not an echo: {reply:?}").into()),
        }
    }

    /// Sends and receives messages until the socket is closed. Returns the close code, or `None` when the connection
    /// broke without one.
    ///
    /// # Errors
    /// When the socket is still open after `limit`.
    pub async fn send_until_closed(&mut self, limit: Duration) -> Result<Option<u16>> {
        let started_at = Instant::now();
        while started_at.elapsed() < limit {
            let sent = self.send(Message::text("{}")).await;
            match self.next_message().await {
                Ok(Message::Close(frame)) => return Ok(frame.map(|frame| frame.code.into())),
                Ok(_) if sent.is_ok() => {}
                Ok(_) | Err(_) => return Ok(None),
            }
            sleep(SEND_INTERVAL).await;
        }
        Err("the socket is still open".into())
    }

    /// Receives messages until the socket is closed or breaks. Sends nothing.
    ///
    /// # Errors
    /// When neither a message nor the end arrives for a long time.
    pub async fn receive_until_closed(&mut self) -> Result<()> {
        loop {
            match timeout(LIMIT, self.stream.next()).await? {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next message except pings and pongs. A close arrives as `Message::Close`.
    ///
    /// # Errors
    /// When the socket breaks or stays silent.
    pub async fn next_message(&mut self) -> Result<Message> {
        loop {
            match timeout(LIMIT, self.stream.next()).await? {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(message) => return Ok(message?),
                None => return Err("the socket has ended".into()),
            }
        }
    }
}
