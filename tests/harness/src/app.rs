//! The application behind `/api/`: returns the account in the JWT, the headers that arrived, or the request itself.
//! It trusts nothing but the JWT, and counts the requests that reach it.

use crate::{Result, token};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use http_body_util::BodyExt;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Number of requests by request line.
type RequestCounts = Arc<Mutex<BTreeMap<String, u64>>>;

/// A running application.
pub struct App {
    /// Its listening address.
    pub addr: SocketAddr,
    request_counts: RequestCounts,
    task: JoinHandle<()>,
}

impl App {
    /// Listens on loopback. Port 0 selects a free port.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16) -> Result<Self> {
        let counts = RequestCounts::default();
        let counter = Arc::clone(&counts);
        let count = move |request: axum::extract::Request, next: axum::middleware::Next| {
            let line = format!("{} {}", request.method(), request.uri());
            let mut counts = counter.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(line).or_default();
            *count = count.saturating_add(1);
            drop(counts);
            next.run(request)
        };
        let router = Router::new()
            .route("/api/whoami", get(whoami))
            .route("/api/headers", get(headers))
            .route("/api/trailers", any(trailers))
            .route("/api/echo", any(echo))
            .fallback(|| async {
                (
                    StatusCode::NOT_FOUND,
                    Json(json!({"error": "no such resource"})),
                )
            })
            .layer(axum::middleware::from_fn(count))
            .route("/seen", get(request_counts))
            .with_state(Arc::clone(&counts));
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            addr,
            request_counts: counts,
            task,
        })
    }

    /// Number of requests that reached it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        let counts = self
            .request_counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        counts.values().sum()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns every header as it arrived.
async fn headers(headers: HeaderMap) -> Response {
    headers_response(&headers)
}

/// Returns every trailer as it arrived.
async fn trailers(body: Body) -> Response {
    match body.collect().await {
        Ok(body) => headers_response(&body.trailers().cloned().unwrap_or_default()),
        Err(e) => (StatusCode::BAD_REQUEST, e.to_string()).into_response(),
    }
}

fn headers_response(headers: &HeaderMap) -> Response {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let all: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect();
    Json(all).into_response()
}

/// `GET /seen`, for tests in other processes. Envoy has no route to it.
async fn request_counts(State(counts): State<RequestCounts>) -> Json<BTreeMap<String, u64>> {
    Json(
        counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
    )
}

async fn echo(method: Method, body: String) -> Json<serde_json::Value> {
    Json(json!({"method": method.as_str(), "body": body}))
}

async fn whoami(headers: HeaderMap) -> Response {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let claims = bearer
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(token::verify);
    let Some(Ok(claims)) = claims else {
        return (
            StatusCode::UNAUTHORIZED,
            Json(json!({"error": "no valid token"})),
        )
            .into_response();
    };
    let names: Vec<&str> = headers.keys().map(header::HeaderName::as_str).collect();
    let cookies: Vec<&str> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    Json(
        json!({"account": claims.sub, "roles": claims.roles, "headers": names, "cookies": cookies}),
    )
    .into_response()
}
