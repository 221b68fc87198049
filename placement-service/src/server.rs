//! Accepts connections and hands them to its workers, in turn, until told to stop; then lets requests in
//! flight finish for a while. Knows nothing of what is answered.

mod worker;

use axum::Router;
use std::io;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use worker::Worker;

/// How long to wait when the machine has no file handle for another connection.
const BREATH: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves; then requests in flight have `grace` to finish. An error means that the
/// machine gave no thread.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
    grace: Duration,
) -> io::Result<()> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let workers: io::Result<Vec<_>> = (0..count)
        .map(|_| Worker::start(router.clone(), grace))
        .collect();
    let workers = workers?;
    let mut turns = workers.iter().cycle();
    tokio::pin!(stop);
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            () = &mut stop => break,
        };
        match (stream.into_std(), turns.next()) {
            (Ok(stream), Some(worker)) => worker.take(stream),
            (Err(error), _) => tracing::warn!(%error, "a connection was lost"),
            (Ok(_), None) => {}
        }
    }
    drop(listener);
    futures_util::future::join_all(workers.into_iter().map(Worker::end)).await;
    Ok(())
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
    use hyper_util::rt::{TokioExecutor, TokioIo};
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
            serve(listener, router, stopped, Duration::from_secs(10))
                .await
                .unwrap();
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
