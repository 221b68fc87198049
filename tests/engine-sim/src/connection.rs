//! One connection to the API port: health checks one after another, or one WebSocket.

use crate::{engine::SharedState, head::Head, health, socket};
use std::sync::{Arc, atomic::Ordering::Relaxed};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Serves a connection until either side ends it.
pub(crate) async fn serve(mut stream: TcpStream, shared: Arc<SharedState>) {
    let mut buffer = Vec::with_capacity(2_048);
    while let Some(head) = Head::read(&mut stream, &mut buffer).await {
        shared.faults.wait_while(|faults| faults.stall).await;
        if head.header("upgrade").is_some() {
            return socket::serve(stream, head, buffer, &shared).await;
        }
        let (status, kind, body) = match (head.method.as_str(), head.path_only()) {
            ("GET", "/healthcheck") => {
                shared.healthchecks.fetch_add(1, Relaxed);
                ("200 OK", "application/json", health::body(&shared))
            }
            _ => ("404 Not Found", "text/plain", "not found\n".to_owned()),
        };
        let last = head.header("connection") == Some("close");
        if answer(&mut stream, status, kind, &body).await.is_err() || last {
            return;
        }
    }
}

/// Answers a request whose connection stays open.
pub(crate) async fn answer(
    stream: &mut TcpStream,
    status: &str,
    kind: &str,
    body: &str,
) -> std::io::Result<()> {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await
}
