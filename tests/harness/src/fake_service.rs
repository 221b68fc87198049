//! A fake placement service that returns the response a test sets: a late one, garbage, a forbidden header. It
//! records the requests that it receives. Reports and polls of gateways go to its [`FakeEventLog`].

mod event_log;

pub use event_log::FakeEventLog;

use crate::token::Claims;
use crate::{Result, wait};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Request, Response};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The response to return.
#[derive(Clone, Debug)]
pub struct FakeResponse {
    /// Delay before the response.
    pub delay: Duration,
    /// The HTTP status.
    pub status: u16,
    /// Headers, besides `content-type: application/json`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl FakeResponse {
    /// A response with this status and JSON body, without a delay.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            delay: Duration::ZERO,
            status,
            headers: vec![],
            body: body.to_string().into_bytes(),
        }
    }

    /// A valid placement on `engine` for the account `demo`.
    ///
    /// # Errors
    /// When the token cannot be signed.
    pub fn placement(engine: SocketAddr) -> Result<Self> {
        Ok(Self::json(200, &placement_body(engine)?))
    }

    /// Adds a delay.
    #[must_use]
    pub const fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// The body of a valid placement, for a test to modify.
///
/// # Errors
/// When the token cannot be signed.
pub fn placement_body(engine: SocketAddr) -> Result<Value> {
    let claims = Claims::for_account("demo");
    Ok(json!({
        "token": claims.sign()?,
        "token_expires_at": claims.exp,
        "session_expires_at": claims.exp,
        "session_ref": "stand-in",
        "cluster": "engines",
        "destination": engine.to_string(),
        "path": "/app/stand-in/ttl/1",
        "set_headers": {"x-qlik-session": "00000000-0000-4000-8000-000000000001"},
        "stream": "stand-in",
        "pool": "stand-in",
        "engine": "engine-0",
        "reason": "only-one",
        "account": "demo",
        "roles": ["user"],
    }))
}

/// A request that it received.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: axum::http::HeaderMap,
    /// Its body; `null` when it was not JSON.
    pub body: Value,
}

#[derive(Default)]
struct Shared {
    response: Mutex<Option<FakeResponse>>,
    requests: Mutex<Vec<ReceivedRequest>>,
    event_log: FakeEventLog,
}

/// A running fake service.
pub struct FakeService {
    /// Its listening address.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl FakeService {
    /// Listens on a free port. It responds with 500 until a response is set.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let router = Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { addr, shared, task })
    }

    /// Sets the response to all further requests.
    pub fn set_response(&self, answer: FakeResponse) {
        *self
            .shared
            .response
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    /// Reports and events.
    #[must_use]
    pub fn event_log(&self) -> &FakeEventLog {
        &self.shared.event_log
    }

    /// The requests so far, except reports and polls.
    #[must_use]
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until `count` requests have arrived.
    ///
    /// # Errors
    /// When they do not arrive.
    pub async fn wait_for_requests(&self, count: usize) -> Result<()> {
        let has_enough = || async { (self.requests().len() >= count).then_some(()) };
        wait::poll_until("a request to arrive", Duration::from_secs(10), has_enough).await
    }
}

impl Drop for FakeService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20)
        .await
        .unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let path = head.uri.path();
    if path.starts_with("/v1/gateways/") {
        let (status, body) = shared.event_log.handle(path, &body).await;
        return build_response(FakeResponse::json(status, &body));
    }
    let received = ReceivedRequest {
        path: path.to_owned(),
        headers: head.headers,
        body,
    };
    shared
        .requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(received);
    let answer = shared
        .response
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let answer =
        answer.unwrap_or_else(|| FakeResponse::json(500, &json!({"reason": "no response is set"})));
    tokio::time::sleep(answer.delay).await;
    build_response(answer)
}

fn build_response(answer: FakeResponse) -> Response<Body> {
    let mut response = Response::builder()
        .status(answer.status)
        .header("content-type", "application/json");
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap_or_default()
}
