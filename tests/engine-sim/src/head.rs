//! The head of one HTTP/1.1 request: method, path, headers. Reading keeps the bytes that follow the head.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Far above the 16 KB tokens that must fit.
const MAX_BYTES: usize = 256 * 1024;
const MAX_HEADERS: usize = 256;

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names as they were sent, values with bytes outside UTF-8 replaced.
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    /// Reads one head. Before the call `buffer` holds bytes that were read earlier, after the call those that follow
    /// the head. `None`: the peer has closed the connection, or the bytes are not HTTP.
    pub(crate) async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
    ) -> Option<Self> {
        loop {
            if let Some(end) = end_of_head(buffer) {
                let early_bytes = buffer.split_off(end);
                let head = Self::parse(buffer);
                *buffer = early_bytes;
                return head;
            }
            if buffer.len() > MAX_BYTES {
                return None;
            }
            match stream.read_buf(buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        if !request.parse(bytes).ok()?.is_complete() {
            return None;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Self {
            method: request.method?.to_owned(),
            path: request.path?.to_owned(),
            headers: request
                .headers
                .iter()
                .map(|header| (header.name.to_owned(), text(header.value)))
                .collect(),
        })
    }

    /// The value of the first header with this name, case-insensitive.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The path without its query.
    pub(crate) fn path_only(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    /// The key of a WebSocket upgrade (RFC 6455, section 4.2.1), if this request is one.
    pub(crate) fn websocket_key(&self) -> Option<&str> {
        let upgrade = self.header("upgrade")?;
        (self.method == "GET" && upgrade.eq_ignore_ascii_case("websocket"))
            .then(|| self.header("sec-websocket-key"))
            .flatten()
    }
}

fn end_of_head(buffer: &[u8]) -> Option<usize> {
    let position = buffer.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(position + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: &str = "GET /app/a?b=c HTTP/1.1\r\nHost: x\r\nUPGRADE: WebSocket\r\n\
        Cookie: a=1\r\ncookie: b=2\r\nSec-WebSocket-Key: k\r\n\r\n";

    async fn read(mut bytes: &[u8], buffer: &mut Vec<u8>) -> Option<Head> {
        Head::read(&mut bytes, buffer).await
    }

    #[tokio::test]
    async fn every_header_and_the_early_bytes_are_kept() {
        let mut early_bytes = Vec::new();
        let request = format!("{UPGRADE}early frame");
        let head = read(request.as_bytes(), &mut early_bytes).await.unwrap();
        assert_eq!(early_bytes, b"early frame");
        assert_eq!(head.path_only(), "/app/a");
        assert_eq!(head.websocket_key(), Some("k"));
        let cookies = head
            .headers
            .iter()
            .filter(|(name, _)| name.to_lowercase() == "cookie");
        assert_eq!(cookies.count(), 2);
    }

    #[tokio::test]
    async fn two_requests_may_arrive_together() {
        let mut buffer = Vec::new();
        let request = "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        assert_eq!(
            read(request.as_bytes(), &mut buffer).await.unwrap().path,
            "/a"
        );
        assert_eq!(read(b"", &mut buffer).await.unwrap().path, "/b");
        assert!(read(b"", &mut buffer).await.is_none());
    }

    #[tokio::test]
    async fn junk_ends_the_connection() {
        assert!(
            read(b"\x16\x03\x01 hello\r\n\r\n", &mut Vec::new())
                .await
                .is_none()
        );
        let too_long = vec![b'a'; MAX_BYTES + 2];
        assert!(read(&too_long, &mut Vec::new()).await.is_none());
    }
}
