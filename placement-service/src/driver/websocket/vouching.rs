//! Connections that vouch for their engines: accepted a moment ago, and not closed since. Knows nothing
//! of what is spoken on them, which is nothing.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream as Standing};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long one connection vouches. A process that dies closes it; a machine that vanishes, or a port
/// that is closed while the process lives on, is noticed after this time.
const VOUCHES_FOR: Duration = Duration::from_millis(100);

/// At the most one connection per engine.
#[derive(Debug, Default)]
pub(super) struct Vouching(Mutex<HashMap<SocketAddr, (Instant, Standing)>>);

impl Vouching {
    /// Whether a connection vouches for this engine now.
    pub(super) fn is_accepting(&self, engine: SocketAddr) -> bool {
        let mut all = self.lock();
        let vouched = all
            .get(&engine)
            .is_some_and(|(since, stream)| since.elapsed() < VOUCHES_FOR && is_open(stream));
        if !vouched {
            all.remove(&engine);
        }
        vouched
    }

    /// Lets this connection vouch from now on.
    pub(super) fn keep(&self, engine: SocketAddr, stream: TcpStream) {
        // Reset instead of closing, later on: ports that linger after each connection would run out.
        let _ = stream.set_zero_linger();
        let Ok(stream) = stream.into_std() else {
            return;
        };
        let mut all = self.lock();
        // Those of engines that are asked for no more.
        all.retain(|_, (since, _)| since.elapsed() < VOUCHES_FOR);
        all.insert(engine, (Instant::now(), stream));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, (Instant, Standing)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the kernel, which knows of a close at once. The stream is a non-blocking one.
fn is_open(stream: &Standing) -> bool {
    // A server that speaks first is left alone, too: what it says may be a farewell.
    matches!(stream.peek(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn engine() -> (Vouching, SocketAddr, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (vouching, stream) = (Vouching::default(), TcpStream::connect(addr).await);
        assert!(!vouching.is_accepting(addr));
        vouching.keep(addr, stream.unwrap());
        (vouching, addr, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn an_open_connection_vouches_for_a_moment() {
        let (vouching, addr, _accepted) = engine().await;
        tokio::time::pause();
        assert!(vouching.is_accepting(addr));
        tokio::time::advance(VOUCHES_FOR - Duration::from_millis(1)).await;
        assert!(vouching.is_accepting(addr));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!vouching.is_accepting(addr));
        assert!(vouching.lock().is_empty());
    }

    #[tokio::test]
    async fn a_closed_one_does_not_vouch_at_all() {
        let (vouching, addr, accepted) = engine().await;
        tokio::time::pause();
        drop(accepted);
        assert!(!vouching.is_accepting(addr));
    }

    #[tokio::test]
    async fn one_that_speaks_does_not_vouch_any_more() {
        let (vouching, addr, mut accepted) = engine().await;
        tokio::time::pause();
        accepted.write_all(b"HTTP/1.1 408\r\n\r\n").await.unwrap();
        assert!(!vouching.is_accepting(addr));
    }

    #[tokio::test]
    async fn connections_nobody_asks_for_are_closed() {
        let (vouching, _, _accepted) = engine().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = listener.local_addr().unwrap();
        let stream = TcpStream::connect(other).await.unwrap();
        tokio::time::pause();
        tokio::time::advance(VOUCHES_FOR).await;
        vouching.keep(other, stream);
        assert_eq!(vouching.lock().keys().collect::<Vec<_>>(), [&other]);
    }
}
