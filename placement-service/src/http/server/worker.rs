//! A worker thread with its own event loop: it reads, handles and answers the requests of its connections, and wakes no
//! other thread for that. A gateway waits for each answer, so a wake-up would add latency for its client.

use super::client::{Client, Exchange};
use super::connections::{ConnectionSlot, Connections};
use super::stream::ClientStream;
use super::tls::{GatewayCertificate, ServerTls};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tower::Service;

/// Maximum number of concurrent requests on one HTTP/2 connection: an Envoy worker sends all its requests on one.
const MAX_CONCURRENT_STREAMS: u32 = 4096;
/// Maximum number of requests on one HTTP/2 connection that the client has reset before they were accepted. A gateway
/// resets the requests of clients that disconnect, a burst of resets is not an attack by the gateway, and closing
/// its connection would fail the requests of all other clients.
const MAX_PENDING_RESETS: usize = 16_384;
/// The receive window of an HTTP/2 connection, in bytes. h2 allows half of it for small frames that wait to be read,
/// counts each of them as 256 bytes, and closes the connection beyond that (`too_many_data_frames`). A gateway may send
/// 4,096 calls at once, so these must fit.
const CONNECTION_WINDOW_BYTES: u32 = 2 * 4096 * 256;
/// The interval of HTTP/2 pings, and the time for their answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection, its slot, and the receiver that resolves when the connection must close for another one.
type AcceptedConnection = (TcpStream, ConnectionSlot, oneshot::Receiver<()>);

/// A running worker thread.
pub(super) struct Worker {
    /// Needs no bound of its own: each connection in it has a slot of [`Connections`].
    connections: mpsc::UnboundedSender<AcceptedConnection>,
    ended: oneshot::Receiver<()>,
}

impl Worker {
    /// Starts the thread. After [`Worker::shut_down`], requests in flight have `grace` to finish.
    pub(super) fn start(
        tls: Option<Arc<ServerTls>>,
        router: Router,
        connections: Arc<Connections>,
        grace: Duration,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (sender, accepted) = mpsc::unbounded_channel();
        let (finished_sender, finished) = oneshot::channel();
        std::thread::Builder::new()
            .name("berth-http".to_owned())
            .spawn(move || {
                runtime.block_on(run(accepted, tls, router, connections, grace));
                // Fails if nothing waits for the end of the thread.
                let _ = finished_sender.send(());
            })?;
        Ok(Self {
            connections: sender,
            ended: finished,
        })
    }

    /// Hands a connection to the thread.
    pub(super) fn assign(&self, accepted: AcceptedConnection) {
        if self.connections.send(accepted).is_err() {
            tracing::error!("a worker thread has ended unexpectedly");
        }
    }

    /// Stops the thread. Resolves when the requests in flight have finished, or their time has passed.
    pub(super) async fn shut_down(self) {
        drop(self.connections);
        // An error means that the thread has ended already.
        let _ = self.ended.await;
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // That timeout would also close idle connections. `ClientStream` limits the time for a head instead.
        .header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS);
    builder
}

async fn run(
    mut accepted: mpsc::UnboundedReceiver<AcceptedConnection>,
    tls: Option<Arc<ServerTls>>,
    router: Router,
    connections: Arc<Connections>,
    grace: Duration,
) {
    let builder = builder();
    let shutdown = GracefulShutdown::new();
    while let Some((stream, slot, evicted)) = accepted.recv().await {
        let peer = stream.peer_addr();
        let stream = tokio::net::TcpStream::from_std(stream);
        let (peer, stream) = match (peer, stream) {
            (Ok(peer), Ok(stream)) => (peer, stream),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "a connection was lost");
                continue;
            }
        };
        let client = Arc::new(Client::new(slot.id, connections.clone()));
        let stream = ClientStream::new(stream, client.clone());
        let (tls, router) = (tls.clone(), router.clone());
        let (builder, watcher) = (builder.clone(), shutdown.watcher());
        let connection = async move {
            let Some(tls) = tls else {
                return serve_connection(&builder, stream, router, (peer, None), client, watcher)
                    .await;
            };
            let (stream, certificate) = tls.accept(stream).await?;
            let peer = (peer, certificate);
            serve_connection(&builder, stream, router, peer, client, watcher).await
        };
        tokio::spawn(async move {
            tokio::select! {
                result = connection => if let Err(error) = result {
                    // Clients disconnect at any time, so this is not worth a warning.
                    tracing::debug!(error, "connection ended");
                },
                Ok(()) = evicted => tracing::debug!(%peer, "connection closed for another one"),
            }
            drop(slot);
        });
    }
    let finished = tokio::time::timeout(grace, shutdown.shutdown()).await;
    if finished.is_err() {
        tracing::warn!("requests in flight were cut off");
    }
}

/// Where a connection comes from: the address of the client, and whether its certificate is that of a gateway.
type Peer = (SocketAddr, Option<GatewayCertificate>);

/// Serves the requests of one connection.
async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    builder: &Builder<TokioExecutor>,
    stream: S,
    router: Router,
    peer: Peer,
    client: Arc<Client>,
    watcher: Watcher,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let service = service_fn(move |request| handle_request(router.clone(), request, peer, &client));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    watcher.watch(connection.into_owned()).await
}

/// Handles one request.
fn handle_request(
    mut router: Router,
    request: Request<Incoming>,
    (address, certificate): Peer,
    client: &Arc<Client>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    let exchange = client.begin_exchange(request.version());
    if request.body().is_end_stream() {
        exchange.mark_complete();
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(address));
    request.extensions_mut().insert(exchange.clone());
    if let Some(certificate) = certificate {
        request.extensions_mut().insert(certificate);
    }
    let answer = router.call(request);
    async move {
        let response = answer.await?;
        exchange.mark_complete();
        Ok(response.map(|body| ResponseBody {
            body,
            _exchange: exchange,
        }))
    }
}

/// The body of a response. Its exchange ends when the body is dropped.
struct ResponseBody {
    body: Body,
    _exchange: Arc<Exchange>,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::WRITE_TIMEOUT;
    use super::*;
    use axum::routing::get;
    use prometheus_client::registry::Registry;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::{Instant, timeout};

    const LIMIT: Duration = Duration::from_secs(15);
    const LARGE: usize = 1024 * 1024;

    /// A connection that the builder serves without a listener.
    async fn connect() -> DuplexStream {
        let (client, server) = tokio::io::duplex(4096);
        let connections = Connections::new(10, LIMIT, &mut Registry::default());
        let (slot, evicted) = connections.admit().await.unwrap();
        let router = Router::new().route("/", get(async || "x".repeat(LARGE)));
        let peer = ([127, 0, 0, 1], 1).into();
        let owner = Arc::new(Client::new(slot.id, connections));
        let stream = TokioIo::new(ClientStream::new(server, owner.clone()));
        tokio::spawn(async move {
            let _held = (slot, evicted);
            let service = service_fn(move |request| {
                handle_request(router.clone(), request, (peer, None), &owner)
            });
            let _ = builder().serve_connection(stream, service).await;
        });
        client
    }

    /// Reads until the server closes the connection, and returns how long that took.
    async fn time_until_close(mut client: DuplexStream) -> Duration {
        let start = Instant::now();
        let mut received = Vec::new();
        let reading = client.read_to_end(&mut received);
        let result = timeout(100 * LIMIT, reading).await;
        assert!(result.is_ok(), "the connection is still open");
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_disconnected() {
        for request in [
            "",
            "PRI * HT",
            "GET / HTTP/1.1\r\nhost: be",
            // The preface and empty settings, without a request.
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        ] {
            let mut client = connect().await;
            client.write_all(request.as_bytes()).await.unwrap();
            let after = time_until_close(client).await;
            assert!(after < 2 * LIMIT, "{request}: {after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_one_deadline_even_if_bytes_keep_arriving() {
        let mut client = connect().await;
        let start = Instant::now();
        // The head never ends.
        while client.write_all(b"GET / HTTP/1.1\r\nx: ").await.is_ok() {
            assert!(start.elapsed() < 10 * LIMIT, "the connection is still open");
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = client.write_all(b"y\r\nz: ").await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_disconnected() {
        let mut client = connect().await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        tokio::time::sleep(2 * WRITE_TIMEOUT).await;
        let mut received = Vec::new();
        let result = timeout(LIMIT, client.read_to_end(&mut received)).await;
        assert!(
            result.is_ok() && received.len() < LARGE,
            "{}",
            received.len()
        );
    }
}
