//! A WebSocket on a connection to an engine: upgrades, sends and receives text messages up to a size limit, and
//! sends the close frame without waiting for the engine's. Does not know what a message means.

use super::upgrade::{ResponseHead, Upgrade};
use crate::core::tls::MaybeTlsStream;
use crate::engines::drivers::DriverFault;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// Size limit of a message. The replies to the driver's requests have a few hundred bytes.
const MAX_MESSAGE: usize = 1024 * 1024;
const BUFFER: usize = 4096;

/// An upgraded connection.
pub(super) struct Connection(WebSocketStream<MaybeTlsStream>);

impl Connection {
    /// Upgrades. The caller sets a time limit.
    pub(super) async fn open(
        mut stream: MaybeTlsStream,
        upgrade: &Upgrade,
    ) -> Result<Self, DriverFault> {
        let request = upgrade.request.as_bytes();
        stream.write_all(request).await.map_err(connect_fault)?;
        stream.flush().await.map_err(connect_fault)?;
        let mut head = Vec::with_capacity(1024);
        let frames = loop {
            if stream.read_buf(&mut head).await.map_err(connect_fault)? == 0 {
                return Err(DriverFault::Connect("closed during the upgrade".into()));
            }
            if let ResponseHead::Upgraded(length) = upgrade.parse_response(&head)? {
                break head.split_off(length);
            }
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let socket =
            WebSocketStream::from_partially_read(stream, frames, Role::Client, Some(config));
        Ok(Self(socket.await))
    }

    /// Sends one text message.
    pub(super) async fn send(&mut self, text: String) -> Result<(), DriverFault> {
        self.0
            .send(Message::text(text))
            .await
            .map_err(websocket_fault)
    }

    /// The next text message.
    pub(super) async fn receive(&mut self) -> Result<Utf8Bytes, DriverFault> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Binary(_))) => {
                    return Err(DriverFault::Malformed("a binary message".into()));
                }
                Some(Ok(Message::Close(_))) | None => {
                    return Err(DriverFault::Connect("closed by the engine".into()));
                }
                Some(Err(e)) => return Err(websocket_fault(e)),
            }
        }
    }

    /// Sends a close frame. The engine still has to close the returned connection.
    pub(super) async fn send_close(mut self) -> TcpStream {
        // An error means that the engine has closed already.
        let _ = self.0.close(None).await;
        self.0.into_inner().into_tcp()
    }
}

pub(super) fn connect_fault(error: std::io::Error) -> DriverFault {
    DriverFault::Connect(error.to_string())
}

fn websocket_fault(error: Error) -> DriverFault {
    match error {
        Error::Io(e) => connect_fault(e),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            DriverFault::Connect("closed by the engine".into())
        }
        other => DriverFault::Malformed(other.to_string()),
    }
}
