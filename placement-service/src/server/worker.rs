//! A thread that answers on connections, with an event loop of its own: a request is read, handled and
//! answered where it arrived, and wakes no other thread. A gateway waits for each answer, so a wake-up saved
//! is time saved for its client.

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::TcpStream;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tower::Layer;

/// Requests that one HTTP/2 connection may have under way: an Envoy worker has all of its own on one.
const STREAMS: u32 = 4096;
/// Requests of one HTTP/2 connection that may be taken back before they were looked at. A gateway takes
/// back what its clients do, so many at once are no attack by the gateway; ending its connection would
/// fail the requests of everybody else on it.
const TAKEN_BACK: usize = 16_384;
/// How long an HTTP/1 client may take to say what it wants; an idle connection is kept for so long, too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A running worker.
pub(super) struct Worker {
    connections: mpsc::UnboundedSender<TcpStream>,
    ended: oneshot::Receiver<()>,
}

impl Worker {
    /// Starts the thread. When it is told to end, requests in flight have `grace` to finish.
    pub(super) fn start(router: Router, grace: Duration) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (connections, accepted) = mpsc::unbounded_channel();
        let (tell, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("berth-http".to_owned())
            .spawn(move || {
                runtime.block_on(work(accepted, router, grace));
                // Nobody may be waiting any more.
                let _ = tell.send(());
            })?;
        Ok(Self { connections, ended })
    }

    /// Hands a connection over.
    pub(super) fn take(&self, stream: TcpStream) {
        if self.connections.send(stream).is_err() {
            tracing::error!("a worker has ended before its time");
        }
    }

    /// Resolves when the requests in flight have finished, or have had their time.
    pub(super) async fn end(self) {
        drop(self.connections);
        // An error means that the thread is gone, which is just as well.
        let _ = self.ended.await;
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(TAKEN_BACK);
    builder
}

async fn work(mut accepted: mpsc::UnboundedReceiver<TcpStream>, router: Router, grace: Duration) {
    let builder = builder();
    let connections = GracefulShutdown::new();
    while let Some(stream) = accepted.recv().await {
        let peer = stream.peer_addr();
        let stream = tokio::net::TcpStream::from_std(stream);
        let (peer, stream) = match (peer, stream) {
            (Ok(peer), Ok(stream)) => (peer, stream),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "a connection was lost");
                continue;
            }
        };
        let service = Extension(ConnectInfo(peer)).layer(router.clone());
        let service = TowerToHyperService::new(service);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            // Clients that break off are no news.
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection ended");
            }
        });
    }
    let finished = tokio::time::timeout(grace, connections.shutdown()).await;
    if finished.is_err() {
        tracing::warn!("requests in flight were cut off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// A connection to nothing but the builder.
    fn connect() -> DuplexStream {
        let (client, server) = tokio::io::duplex(4096);
        let service = TowerToHyperService::new(Router::new());
        let builder = builder();
        tokio::spawn(async move {
            let _ = builder
                .serve_connection(TokioIo::new(server), service)
                .await;
        });
        client
    }

    /// Reads until the server hangs up.
    async fn hangs_up(mut client: DuplexStream) {
        let mut said = Vec::new();
        let read = client.read_to_end(&mut said);
        let read = tokio::time::timeout(10 * HEADER_TIMEOUT, read).await;
        assert!(read.is_ok(), "the connection is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_falls_silent_holds_no_connection() {
        for said in [
            "GET / HTTP/1.1\r\nhost: be",
            // The preface and empty settings, and no answer to a ping.
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        ] {
            let mut client = connect();
            client.write_all(said.as_bytes()).await.unwrap();
            hangs_up(client).await;
        }
    }
}
