//! The application behind `/api/`: answers who the JWT says is calling and which headers arrived.
//! It believes nothing but the JWT.

use crate::{Result, token};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running application.
pub struct App {
    /// Where it listens.
    pub addr: SocketAddr,
    requests: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl App {
    /// Listens on loopback; port 0 means any.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16) -> Result<Self> {
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        let count = move |request: axum::extract::Request, next: axum::middleware::Next| {
            counter.fetch_add(1, Ordering::Relaxed);
            next.run(request)
        };
        let router = Router::new()
            .route("/api/whoami", get(whoami))
            .route("/api/headers", get(headers))
            .fallback(|| async {
                (
                    StatusCode::NOT_FOUND,
                    Json(json!({"error": "no such resource"})),
                )
            })
            .layer(axum::middleware::from_fn(count))
            .with_state(());
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            addr,
            requests,
            task,
        })
    }

    /// How many requests have reached it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every header as it arrived.
async fn headers(headers: HeaderMap) -> Response {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let all: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect();
    Json(all).into_response()
}

async fn whoami(State(()): State<()>, headers: HeaderMap) -> Response {
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
