//! A client that writes the bytes of a test to a connection: for requests that no HTTP library sends.

use crate::Result;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the end of a response is awaited. An open WebSocket has none.
const LIMIT: Duration = Duration::from_secs(3);

/// The bytes that arrived in response to a request.
#[derive(Clone, Debug)]
pub struct RawReply(String);

impl RawReply {
    /// Sends `text` on a new connection, and reads until the server closes it or nothing more arrives.
    ///
    /// # Errors
    /// When nothing listens, or no status line arrives.
    pub async fn send(address: SocketAddr, text: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut answer = vec![];
        while let Ok(Ok(1..)) = timeout(LIMIT, stream.read_buf(&mut answer)).await {
            let ends_head = answer.windows(4).any(|bytes| bytes == b"\r\n\r\n");
            if ends_head && answer.starts_with(b"HTTP/1.1 101") {
                break;
            }
        }
        let reply = Self(String::from_utf8_lossy(&answer).into_owned());
        let is_response = reply.status() != 0;
        is_response
            .then_some(reply)
            .ok_or_else(|| "no response".into())
    }

    /// The HTTP status; 0 without a status line.
    #[must_use]
    pub fn status(&self) -> u16 {
        let status = self.0.strip_prefix("HTTP/1.1 ");
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
        status.unwrap_or_default()
    }

    /// Head and body as they arrived.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}
