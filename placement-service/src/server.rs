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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::{Request, Response, StatusCode};
    use axum::routing::get;
    use hyper::body::Incoming;
    use hyper::client::conn::http2::{self, SendRequest};
    use std::sync::Arc;
    use tokio::sync::{Notify, oneshot};

    async fn fails() {
        panic!("a fault of a handler");
    }

    async fn ask(
        mut connection: SendRequest<Body>,
        path: &str,
    ) -> hyper::Result<Response<Incoming>> {
        let request = Request::get(format!("http://berth{path}"));
        let request = request.body(Body::empty()).unwrap();
        connection.send_request(request).await
    }

    /// All requests of a gateway's worker share one connection.
    #[tokio::test]
    async fn a_panic_ends_its_own_request_and_no_other_of_the_connection() {
        let (reached, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, awaited) = (reached.clone(), release.clone());
        let slow = move || {
            let (told, awaited) = (told.clone(), awaited.clone());
            async move {
                told.notify_one();
                awaited.notified().await;
            }
        };
        let router = Router::new()
            .route("/fails", get(fails))
            .route("/slow", get(slow));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve(listener, router, stopped, Duration::from_secs(10)).await;
        });
        let stream = TokioIo::new(stream.await.unwrap());
        let (requests, connection) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        tokio::spawn(connection);

        let slow = requests.clone();
        let slow = tokio::spawn(async move { ask(slow, "/slow").await });
        reached.notified().await;
        assert!(ask(requests.clone(), "/fails").await.is_err());
        let after = ask(requests.clone(), "/nowhere").await.unwrap();
        assert_eq!(after.status(), StatusCode::NOT_FOUND);
        // What is under way when the end comes is finished, too.
        stop.send(()).unwrap();
        release.notify_one();
        assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::OK);
        drop(requests);
        served.await.unwrap();
    }
}
