//! An engine that speaks plain HTTP: it names itself, returns what arrived, streams events, and counts bytes of uploads.
//! It does not know Berth.

use crate::Result;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use futures_util::stream;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Time between two events.
const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// What `/range` returns parts of.
const RANGE: &str = "0123456789";

/// What the handlers share.
#[derive(Debug)]
struct Shared {
    name: String,
    requests: AtomicU64,
}

/// A running engine.
pub struct HttpEngine {
    /// Its name in the pool.
    pub name: String,
    /// Its listening address.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl HttpEngine {
    /// Listens on loopback.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_at(name, ([127, 0, 0, 1], 0).into()).await
    }

    /// Listens on an address.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start_at(name: &str, addr: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            requests: AtomicU64::new(0),
        });
        let router = Router::new()
            .route("/events", get(events))
            .route("/upload", any(upload))
            .route("/range", get(range))
            .route("/cookies", get(cookies))
            .route("/break", any(break_connection))
            .fallback(any(echo))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            name: name.to_owned(),
            addr,
            shared,
            task,
        })
    }

    /// The engine in a static list of a pool.
    #[must_use]
    pub fn to_config(&self) -> Value {
        json!({"name": self.name, "ip": self.addr.ip(), "port": self.addr.port()})
    }

    /// Number of requests that reached it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Stops listening. Open connections stay until their next request.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for HttpEngine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Its name, and the request as it arrived.
async fn echo(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), Value::from(value))
    });
    let headers: serde_json::Map<String, Value> = headers.collect();
    Json(json!({
        "engine": shared.name,
        "method": request.method().as_str(),
        "path": request.uri().to_string(),
        "headers": headers,
    }))
    .into_response()
}

/// Events without end.
async fn events(State(shared): State<Arc<Shared>>) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let name = shared.name.clone();
    let events = stream::unfold(0_u64, move |count| {
        let event = format!("data: {name} {count}\n\n");
        async move {
            if count > 0 {
                tokio::time::sleep(EVENT_INTERVAL).await;
            }
            Some((
                Ok::<_, Infallible>(Bytes::from(event)),
                count.saturating_add(1),
            ))
        }
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    (kind, Body::from_stream(events)).into_response()
}

/// The number of bytes of a body, and its trailers.
async fn upload(State(shared): State<Arc<Shared>>, mut body: Body) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let (mut bytes, mut trailers) = (0_usize, serde_json::Map::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return StatusCode::BAD_REQUEST.into_response();
        };
        if let Some(data) = frame.data_ref() {
            bytes = bytes.saturating_add(data.len());
        } else if let Some(all) = frame.trailers_ref() {
            for (name, value) in all {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                trailers.insert(name.as_str().to_owned(), value.into());
            }
        }
    }
    Json(json!({"engine": shared.name, "bytes": bytes, "trailers": trailers})).into_response()
}

/// A part of a text: `Range: bytes=2-4`.
async fn range(request: Request) -> Response {
    let range = request.headers().get(header::RANGE);
    let range = range.and_then(|value| value.to_str().ok()?.strip_prefix("bytes="));
    let bounds = range.and_then(|range| range.split_once('-'));
    let part = bounds.and_then(|(first, last)| {
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some((
            format!("bytes {first}-{last}/{}", RANGE.len()),
            RANGE.get(first..=last)?,
        ))
    });
    match part {
        Some((range, part)) => {
            let range = [(header::CONTENT_RANGE, range)];
            (StatusCode::PARTIAL_CONTENT, range, part).into_response()
        }
        None => RANGE.into_response(),
    }
}

/// Three cookies, of which one is that of Berth's login.
async fn cookies() -> Response {
    let cookie = |text: &'static str| (header::SET_COOKIE, HeaderValue::from_static(text));
    let cookies = [
        cookie("a=1; Path=/"),
        cookie("berth=evil; Path=/"),
        cookie("b=2; Path=/"),
    ];
    let plain = (
        HeaderName::from_static("x-plain"),
        HeaderValue::from_static("1"),
    );
    (AppendHeaders(cookies), AppendHeaders([plain]), "cookies").into_response()
}

/// The connection breaks before the response: the handler panics, and the task of its connection ends.
async fn break_connection(State(shared): State<Arc<Shared>>) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    std::panic::resume_unwind(Box::new("a broken connection"))
}
