//! An HTTP client that keeps its connection and does only what the measurement needs.

use crate::{handshake::Failure, load::LoopCounters};
use std::{net::SocketAddr, sync::Arc, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The address and the bytes of the request.
#[derive(Clone, Debug)]
pub(super) struct Client {
    to: SocketAddr,
    request: Arc<[u8]>,
}

impl Client {
    pub(super) fn new(address: SocketAddr, cookie: &str) -> Self {
        let request =
            format!("GET /api/echo HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\n\r\n");
        Self {
            to: address,
            request: request.into_bytes().into(),
        }
    }

    /// Sends one request after the other until this time.
    pub(super) async fn run_until(self, end: Instant) -> LoopCounters {
        let mut counters = LoopCounters::default();
        let mut stream = match TcpStream::connect(self.to).await {
            Ok(stream) => stream,
            Err(error) => {
                counters.record_failure(error.into());
                return counters;
            }
        };
        let _ = stream.set_nodelay(true);
        let mut answer = Vec::with_capacity(4_096);
        while Instant::now() < end {
            let started_at = Instant::now();
            match self.exchange(&mut stream, &mut answer).await {
                Ok(()) => counters.record_success(started_at),
                Err(failure) => {
                    counters.record_failure(failure);
                    break;
                }
            }
        }
        counters
    }

    async fn exchange(&self, stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<(), Failure> {
        stream.write_all(&self.request).await?;
        answer.clear();
        while !is_complete(answer)? {
            if stream.read_buf(answer).await? == 0 {
                return Err(Failure::Io(std::io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    }
}

/// Whether the response is complete. A status other than 200 is a failure.
fn is_complete(answer: &[u8]) -> Result<bool, Failure> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(false);
    };
    let (head, body) = answer.split_at_checked(end + 4).unwrap_or((answer, &[]));
    let head = String::from_utf8_lossy(head);
    if !head.starts_with("HTTP/1.1 200 ") {
        let line = head.lines().next().unwrap_or_default();
        return Err(Failure::Rejected(line.to_owned()));
    }
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or_else(|| Failure::Unexpected("no content-length".to_owned()))?;
    Ok(body.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_complete_with_the_last_byte_of_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        for end in 0..answer.len() {
            assert_eq!(is_complete(&answer[..end]), Ok(false), "{end}");
        }
        assert_eq!(is_complete(answer), Ok(true));
    }

    #[test]
    fn a_rejection_is_a_failure() {
        let refused = is_complete(b"HTTP/1.1 401 Unauthorized\r\n\r\n");
        assert!(matches!(refused, Err(Failure::Rejected(line)) if line.contains("401")));
    }
}
