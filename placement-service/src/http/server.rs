//! Accepts connections and hands them to worker threads, round-robin, until it is stopped; then gives requests in
//! flight some time to finish. Knows nothing of requests and responses.

mod client;
mod connections;
mod stream;
mod tls;
mod worker;

use axum::Router;
pub(crate) use client::Exchange;
pub use connections::Connections;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::sync::Arc;
use std::time::Duration;
pub(crate) use tls::GatewayCertificate;
pub use tls::{ServerTls, read_files};
use tokio::net::{TcpListener, TcpStream};
use worker::Worker;

/// Pause after a failed `accept`, such as when the process has no free file descriptor.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Idle time after which the kernel probes the peer. A client that vanishes without closing would otherwise hold an
/// idle connection forever.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Serves until `shutdown` resolves; then requests in flight have `grace` to finish. Fails only if a thread cannot be
/// started.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerTls>>,
    router: Router,
    connections: Arc<Connections>,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) -> io::Result<()> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let workers: io::Result<Vec<_>> = (0..count)
        .map(|_| Worker::start(tls.clone(), router.clone(), connections.clone(), grace))
        .collect();
    let workers = workers?;
    let mut round_robin = workers.iter().cycle();
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            let stream = accept(&listener).await;
            (stream, connections.admit().await)
        };
        let (stream, permit) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let Some((slot, evicted)) = permit else {
            continue;
        };
        match (stream.into_std(), round_robin.next()) {
            (Ok(stream), Some(worker)) => worker.assign((stream, slot, evicted)),
            (Err(error), _) => tracing::warn!(%error, "a connection was lost"),
            (Ok(_), None) => {}
        }
    }
    drop(listener);
    futures_util::future::join_all(workers.into_iter().map(Worker::shut_down)).await;
    Ok(())
}

/// Waits for the next connection. An error of the system is logged and retried.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut logged = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Responses are small and clients wait for them: filling a packet first only adds delay.
                let nodelay = stream.set_nodelay(true);
                let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE);
                let keep_alive = SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
                if let Err(error) = nodelay.and(keep_alive) {
                    tracing::debug!(%error, "no TCP_NODELAY or SO_KEEPALIVE");
                }
                return stream;
            }
            Err(error) => {
                if !std::mem::replace(&mut logged, true) {
                    tracing::warn!(%error, "cannot accept a connection");
                }
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::{Request, Response, StatusCode};
    use axum::routing::get;
    use hyper::body::Incoming;
    use hyper::client::conn::http2::{self, SendRequest};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use prometheus_client::registry::Registry;
    use tokio::sync::{Notify, oneshot};

    async fn fails() {
        panic!("a handler fails");
    }

    async fn send_request(
        mut connection: SendRequest<Body>,
        path: &str,
    ) -> hyper::Result<Response<Incoming>> {
        let request = Request::get(format!("http://berth{path}"));
        let request = request.body(Body::empty()).unwrap();
        connection.send_request(request).await
    }

    /// All requests of an Envoy worker share one connection.
    #[tokio::test]
    async fn a_panic_ends_its_own_request_and_no_other_on_the_connection() {
        let (reached, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (started, awaited) = (reached.clone(), release.clone());
        let slow = move || {
            let (started, awaited) = (started.clone(), awaited.clone());
            async move {
                started.notify_one();
                awaited.notified().await;
            }
        };
        let router = Router::new()
            .route("/fails", get(fails))
            .route("/slow", get(slow));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap());
        let (shutdown, stopped) = oneshot::channel::<()>();
        let limit = Duration::from_secs(10);
        let connections = Connections::new(10, limit, &mut Registry::default());
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve(listener, None, router, connections, stopped, limit)
                .await
                .unwrap();
        });
        let stream = TokioIo::new(stream.await.unwrap());
        let (requests, connection) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        tokio::spawn(connection);

        let slow = requests.clone();
        let slow = tokio::spawn(async move { send_request(slow, "/slow").await });
        reached.notified().await;
        assert!(send_request(requests.clone(), "/fails").await.is_err());
        let after = send_request(requests.clone(), "/nowhere").await.unwrap();
        assert_eq!(after.status(), StatusCode::NOT_FOUND);
        // A request in flight at shutdown is finished, too.
        shutdown.send(()).unwrap();
        release.notify_one();
        assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::OK);
        drop(requests);
        served.await.unwrap();
    }
}
