//! The HTTP/1.1 upgrade to a WebSocket (RFC 6455, section 4.1), written and read by hand: it is most of
//! what a placement costs, and a general client would put the token into its trace log.

use crate::engines::drivers::Fault;
use std::fmt::Write;
use std::net::SocketAddr;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// No engine's response head is longer.
pub const MAX_HEAD: usize = 16 * 1024;

/// One upgrade request.
pub struct Upgrade {
    /// The bytes to send. They hold the token: never to be logged.
    pub request: String,
    /// What the server has to prove with.
    accept: String,
}

impl Upgrade {
    /// Asks for `/app/engineData/ttl/{ttl_s}` with a token and a session id.
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

    /// Judges the bytes received so far.
    ///
    /// # Errors
    /// When they are not the head of a successful upgrade.
    pub fn judge(&self, bytes: &[u8]) -> Result<Head, Fault> {
        judge(bytes, &self.accept)
    }
}

/// What the bytes received so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Not a whole head yet.
    Partial,
    /// Upgraded; frames follow after so many bytes.
    Upgraded(usize),
}

/// Judges the head of a response to an upgrade. `accept`: what `Sec-WebSocket-Accept` must say.
///
/// # Errors
/// When it is anything but a successful upgrade.
pub fn judge(bytes: &[u8], accept: &str) -> Result<Head, Fault> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = bytes.windows(END.len()).position(|w| w == END) else {
        if bytes.len() >= MAX_HEAD {
            return Err(garbage("an endless response head"));
        }
        return Ok(Head::Partial);
    };
    let head = bytes.get(..end).unwrap_or_default();
    let head = std::str::from_utf8(head).map_err(|_| garbage("a response head that is no text"))?;
    let mut lines = head.split("\r\n");
    match status(lines.next().unwrap_or_default()) {
        Some(101) => {}
        Some(status @ (401 | 403)) => return Err(Fault::TokenRejected(format!("status {status}"))),
        Some(status) => return Err(garbage(&format!("status {status} to an upgrade"))),
        None => return Err(garbage("no HTTP/1.1 response")),
    }
    let proven = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| {
            name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == accept
        });
    if proven {
        Ok(Head::Upgraded(end + END.len()))
    } else {
        Err(garbage("an upgrade without the right Sec-WebSocket-Accept"))
    }
}

fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.1 ")?;
    let code = rest.split(' ').next()?;
    (code.len() == 3).then(|| code.parse().ok())?
}

fn garbage(what: &str) -> Fault {
    Fault::Garbage(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn judged(text: &str) -> Result<Head, Fault> {
        judge(text.as_bytes(), ACCEPT)
    }

    fn fault(text: &str) -> &'static str {
        judged(text).unwrap_err().as_str()
    }

    #[test]
    fn the_request_names_the_session_and_the_user() {
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
    fn a_good_answer_upgrades_at_its_last_byte() {
        let text = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nSEC-WEBSOCKET-ACCEPT:  {ACCEPT}\r\n\r\n"
        );
        for n in 0..text.len() {
            assert_eq!(judged(&text[..n]), Ok(Head::Partial));
        }
        assert_eq!(judged(&text), Ok(Head::Upgraded(text.len())));
        assert_eq!(
            judged(&format!("{text}frame")),
            Ok(Head::Upgraded(text.len()))
        );
    }

    #[test]
    fn other_answers_say_what_they_are() {
        assert_eq!(fault("HTTP/1.1 401 Unauthorized\r\n\r\n"), "token-rejected");
        assert_eq!(fault("HTTP/1.1 200 OK\r\n\r\n"), "garbage");
        assert_eq!(fault("SSH-2.0-OpenSSH\r\n\r\n"), "garbage");
        assert_eq!(
            fault("HTTP/1.1 101 S\r\nSec-WebSocket-Accept: no\r\n\r\n"),
            "garbage"
        );
        assert_eq!(fault(&"x".repeat(MAX_HEAD)), "garbage");
    }
}
