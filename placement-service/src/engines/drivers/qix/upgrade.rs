//! The HTTP/1.1 upgrade to a WebSocket
//! ([RFC 6455, section 4.1](https://www.rfc-editor.org/rfc/rfc6455#section-4.1)). The request is written by hand, because the
//! upgrade is most of the cost of a placement, and because a general client would write the token to its trace log.
//! Does no I/O.

use crate::engines::drivers::DriverFault;
use std::fmt::Write;
use std::net::SocketAddr;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Size limit of a response head. Those of engines are shorter.
pub const MAX_HEAD: usize = 16 * 1024;
/// Maximum number of header fields in it.
const MAX_HEADERS: usize = 64;

/// An upgrade request.
pub struct Upgrade {
    /// The bytes to send. They contain the token and must not be logged.
    pub request: String,
    /// The expected `Sec-WebSocket-Accept`, which proves that the server has read the key.
    accept: String,
}

impl Upgrade {
    /// A request for `/app/engineData/ttl/{ttl_s}` with a token and a session id.
    #[must_use]
    pub fn new(engine: SocketAddr, ttl_s: u64, token: &str, session: &str) -> Self {
        let key = generate_key();
        let mut request = String::with_capacity(320 + token.len());
        // Writing to a string cannot fail.
        let _ = write!(
            request,
            "GET /app/engineData/ttl/{ttl_s} HTTP/1.1\r\n\
             Host: {engine}\r\n\
             Connection: Upgrade\r\n\
             Upgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\n\
             X-Qlik-Session: {session}\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        Self {
            request,
            accept: derive_accept_key(key.as_bytes()),
        }
    }

    /// Parses the bytes received so far.
    ///
    /// # Errors
    /// When they are not the head of a successful upgrade.
    pub fn parse_response(&self, bytes: &[u8]) -> Result<ResponseHead, DriverFault> {
        parse_response(bytes, &self.accept)
    }
}

/// The head of a response, as far as it is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseHead {
    /// The head is incomplete.
    Partial,
    /// The upgrade succeeded. Frames begin after this number of bytes.
    Upgraded(usize),
}

/// Parses the head of a response to an upgrade. `accept` is the expected `Sec-WebSocket-Accept`.
///
/// # Errors
/// When it is not the head of a successful upgrade.
pub fn parse_response(bytes: &[u8], accept: &str) -> Result<ResponseHead, DriverFault> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => {
            return Err(malformed("the response head is too long"));
        }
        Ok(httparse::Status::Partial) => return Ok(ResponseHead::Partial),
        Err(error) => return Err(malformed(&format!("not an HTTP/1.1 response: {error}"))),
    };
    match (response.version, response.code) {
        (Some(1), Some(101)) => {}
        (Some(1), Some(status @ (401 | 403))) => {
            return Err(DriverFault::TokenRejected(format!("status {status}")));
        }
        (Some(1), Some(status)) => {
            return Err(malformed(&format!("status {status} to an upgrade")));
        }
        _ => return Err(malformed("not an HTTP/1.1 response")),
    }
    let has_accept_key = response.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("sec-websocket-accept")
            && header.value == accept.as_bytes()
    });
    if has_accept_key {
        Ok(ResponseHead::Upgraded(length))
    } else {
        Err(malformed("the upgrade has a wrong Sec-WebSocket-Accept"))
    }
}

fn malformed(description: &str) -> DriverFault {
    DriverFault::Malformed(description.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn check_response(text: &str) -> Result<ResponseHead, DriverFault> {
        parse_response(text.as_bytes(), ACCEPT)
    }

    fn fault(text: &str) -> &'static str {
        check_response(text).unwrap_err().as_str()
    }

    #[test]
    fn the_request_has_the_session_id_and_the_token() {
        let engine = ([127, 0, 0, 1], 9076).into();
        let upgrade = Upgrade::new(engine, 10, "a.b.c", "some-id");
        let request = &upgrade.request;
        assert!(
            request.starts_with("GET /app/engineData/ttl/10 HTTP/1.1\r\nHost: 127.0.0.1:9076\r\n")
        );
        assert!(request.contains("\r\nAuthorization: Bearer a.b.c\r\n"));
        assert!(request.contains("\r\nX-Qlik-Session: some-id\r\n"));
        assert!(request.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_successful_response_upgrades_at_its_last_byte() {
        let text = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nSEC-WEBSOCKET-ACCEPT:  {ACCEPT}\r\n\r\n"
        );
        for n in 0..text.len() {
            assert_eq!(check_response(&text[..n]), Ok(ResponseHead::Partial));
        }
        assert_eq!(
            check_response(&text),
            Ok(ResponseHead::Upgraded(text.len()))
        );
        assert_eq!(
            check_response(&format!("{text}frame")),
            Ok(ResponseHead::Upgraded(text.len()))
        );
    }

    #[test]
    fn each_other_response_has_its_fault() {
        assert_eq!(fault("HTTP/1.1 401 Unauthorized\r\n\r\n"), "token-rejected");
        assert_eq!(fault("HTTP/1.1 200 OK\r\n\r\n"), "malformed");
        assert_eq!(fault("SSH-2.0-OpenSSH\r\n\r\n"), "malformed");
        let upgrade = format!("101 S\r\nSec-WebSocket-Accept: {ACCEPT}\r\n");
        assert_eq!(fault(&format!("HTTP/1.0 {upgrade}\r\n")), "malformed");
        assert_eq!(
            fault(&format!("HTTP/1.1 {upgrade}a b: c\r\n\r\n")),
            "malformed"
        );
        let many = "x: y\r\n".repeat(MAX_HEADERS);
        assert_eq!(fault(&format!("HTTP/1.1 {upgrade}{many}\r\n")), "malformed");
        assert_eq!(
            fault("HTTP/1.1 101 S\r\nSec-WebSocket-Accept: no\r\n\r\n"),
            "malformed"
        );
        let long = format!("HTTP/1.1 101 S\r\nx: {}", "y".repeat(MAX_HEAD));
        assert_eq!(fault(&long), "malformed");
    }
}
