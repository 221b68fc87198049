//! One handshake with minimal work in the client: connect, upgrade, and read the engine's first message.

use crate::client_path::Target;
use std::{fmt, io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Upper bound for one handshake.
const LIMIT: Duration = Duration::from_secs(10);

/// The cause of a failed handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Io(io::ErrorKind),
    Timeout,
    NoAddress,
    /// The first line of the response.
    Rejected(String),
    /// The first message, or the data in its place.
    Unexpected(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(kind) => write!(formatter, "{kind}"),
            Self::Timeout => write!(formatter, "nothing within {LIMIT:?}"),
            Self::NoAddress => write!(formatter, "no engine"),
            Self::Rejected(line) => write!(formatter, "{line}"),
            Self::Unexpected(message) => write!(formatter, "first message: {message}"),
        }
    }
}

/// Opens the `number`th socket. Returns when the engine has sent `OnConnected`.
pub(crate) async fn open(target: &Target, number: u64) -> Result<TcpStream, Failure> {
    timeout(LIMIT, exchange(target, number))
        .await
        .unwrap_or(Err(Failure::Timeout))
}

async fn exchange(target: &Target, number: u64) -> Result<TcpStream, Failure> {
    let (address, request) = target.request(number).ok_or(Failure::NoAddress)?;
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&request).await?;
    let mut answer = Vec::with_capacity(1_024);
    while !is_complete(&answer)? {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(Failure::Io(io::ErrorKind::UnexpectedEof));
        }
    }
    Ok(stream)
}

/// Whether the response and the first message are complete.
fn is_complete(answer: &[u8]) -> Result<bool, Failure> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        let text = String::from_utf8_lossy(answer);
        let line = text.lines().next().unwrap_or_default();
        let reason = text.lines().find(|line| line.contains("\"reason\""));
        return Err(Failure::Rejected(format!(
            "{line} {}",
            reason.unwrap_or_default()
        )));
    }
    let frame = answer.get(end + 4..).unwrap_or_default();
    // A short, final, unmasked text frame (RFC 6455, section 5.2).
    let [first, length, payload @ ..] = frame else {
        return Ok(false);
    };
    if payload.len() < usize::from(*length) {
        return Ok(false);
    }
    let message = String::from_utf8_lossy(payload);
    let greeted = message.contains("SESSION_CREATED") || message.contains("SESSION_ATTACHED");
    if *first == 0x81 && greeted {
        return Ok(true);
    }
    Err(Failure::Unexpected(message.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";

    fn handshake_response(first: u8, message: &str) -> Vec<u8> {
        let mut bytes = HEAD.as_bytes().to_vec();
        bytes.extend([first, u8::try_from(message.len()).unwrap()]);
        bytes.extend(message.as_bytes());
        bytes
    }

    #[test]
    fn a_handshake_is_complete_with_the_last_byte_of_the_first_message() {
        let response = handshake_response(0x81, r#"{"qSessionState":"SESSION_CREATED"}"#);
        for end in 0..response.len() {
            assert_eq!(is_complete(&response[..end]), Ok(false), "{end}");
        }
        assert_eq!(is_complete(&response), Ok(true));
    }

    #[test]
    fn another_status_or_first_message_is_a_failure() {
        let refused = is_complete(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert!(matches!(refused, Err(Failure::Rejected(line)) if line.contains("503")));
        let close = is_complete(&handshake_response(0x88, ""));
        assert!(matches!(close, Err(Failure::Unexpected(_))));
        let state = is_complete(&handshake_response(0x81, "SESSION_ERROR_NO_LICENSE"));
        assert!(matches!(state, Err(Failure::Unexpected(_))));
    }
}
