//! One message to the simulated engine and its echo: 200 bytes in a binary frame.

use crate::handshake::Failure;
use std::io;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Bytes of one message.
pub(crate) const BYTES: usize = 200;
/// First byte, length 126 for "two more bytes", and those bytes (RFC 6455, section 5.2).
const HEADER: [u8; 4] = [0x82, 126, 0, 200];
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The frame to send and the expected frame, prepared once.
pub(crate) struct Frames {
    sent: Vec<u8>,
    expected: Vec<u8>,
}

impl Frames {
    pub(crate) fn new() -> Self {
        let payload: Vec<u8> = (0..=u8::MAX).take(BYTES).collect();
        let [first, length, high, low] = HEADER;
        let mut frame = vec![first, length | 0x80, high, low];
        frame.extend(MASK);
        let masked = payload.iter().zip(MASK.iter().cycle());
        frame.extend(masked.map(|(byte, mask)| byte ^ mask));
        let expected = HEADER.into_iter().chain(payload).collect();
        Self {
            sent: frame,
            expected,
        }
    }

    /// Sends the message and reads its echo.
    pub(crate) async fn exchange(
        &self,
        stream: &mut TcpStream,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        stream.write_all(&self.sent).await?;
        buffer.clear();
        while buffer.len() < self.expected.len() {
            if stream.read_buf(buffer).await? == 0 {
                return Err(Failure::Io(io::ErrorKind::UnexpectedEof));
            }
        }
        if *buffer == self.expected {
            return Ok(());
        }
        Err(Failure::Unexpected("an unexpected echo".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn exchange_with(answer: impl Fn(Vec<u8>) -> Vec<u8>) -> Result<(), Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let frames = Frames::new();
        let echo = async {
            let mut got = vec![0; 8 + BYTES];
            server.read_exact(&mut got).await.unwrap();
            let mask: Vec<u8> = got[4..8].to_vec();
            let payload = got[8..].iter().zip(mask.iter().cycle());
            let payload: Vec<u8> = payload.map(|(byte, mask)| byte ^ mask).collect();
            server.write_all(&answer(payload)).await.unwrap();
            drop(server);
        };
        let mut buffer = Vec::new();
        tokio::join!(frames.exchange(&mut client, &mut buffer), echo).0
    }

    #[tokio::test]
    async fn an_echo_of_other_bytes_is_a_failure() {
        let frame = |payload: Vec<u8>| HEADER.into_iter().chain(payload).collect();
        assert_eq!(exchange_with(frame).await, Ok(()));
        let other = |mut payload: Vec<u8>| {
            payload[7] ^= 1;
            frame(payload)
        };
        assert!(matches!(
            exchange_with(other).await,
            Err(Failure::Unexpected(_))
        ));
        let eof = Failure::Io(io::ErrorKind::UnexpectedEof);
        assert_eq!(exchange_with(|_| vec![0x82]).await, Err(eof));
    }
}
