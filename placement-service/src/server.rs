//! Accepts connections and answers on them, in HTTP/1.1 or HTTP/2 as the client begins, until told to
//! stop; then lets requests in flight finish for a while. Knows nothing of what is answered.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// Requests that one HTTP/2 connection may have under way: an Envoy worker has all of its own on one.
const STREAMS: u32 = 4096;
/// Requests of one HTTP/2 connection that may be taken back before they were looked at. A gateway takes
/// back what its clients do, so many at once are no attack by the gateway; ending its connection would
/// fail the requests of everybody else on it.
const TAKEN_BACK: usize = 16_384;
/// How long to wait when the machine has no file handle for another connection.
const BREATH: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves; then requests in flight have `grace` to finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(TAKEN_BACK);
    let connections = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            () = &mut stop => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            // Clients that break off are no news.
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection ended");
            }
        });
    }
    drop(listener);
    let finished = tokio::time::timeout(grace, connections.shutdown()).await;
    if finished.is_err() {
        tracing::warn!("requests in flight were cut off");
    }
}

/// The next connection; there always is one in the end.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and awaited: waiting to fill a packet would only add delay.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "no TCP_NODELAY");
                }
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}
