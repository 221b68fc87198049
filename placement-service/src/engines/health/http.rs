//! One bounded `GET` to an engine: no proxy, no redirect, a limit on time and bytes.

use super::ProbeFault;
use crate::core::http_client;
use std::net::SocketAddr;
use std::time::Duration;

/// More than any engine says: a healthcheck with thousands of documents, or all its metrics.
const MAX_BODY: usize = 1024 * 1024;

/// A client that goes nowhere but to the address it is given.
pub(super) fn client(limit: Duration) -> Result<reqwest::Client, reqwest::Error> {
    http_client::client()
        .connect_timeout(limit)
        .timeout(limit)
        // A new connection each time: one that is kept would not notice that no new ones are accepted.
        .pool_max_idle_per_host(0)
        .build()
}

/// The body of `http://{at}{path}`.
pub(super) async fn get(
    client: &reqwest::Client,
    at: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<Vec<u8>, ProbeFault> {
    let fault = |e: reqwest::Error| {
        if e.is_timeout() {
            ProbeFault::Timeout(limit)
        } else {
            ProbeFault::Connect(http_client::cause(&e))
        }
    };
    let response = client
        .get(format!("http://{at}{path}"))
        .send()
        .await
        .map_err(fault)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(ProbeFault::Status(response.status().as_u16()));
    }
    let body = http_client::body(response, MAX_BODY).await.map_err(fault)?;
    body.ok_or(ProbeFault::TooLong(MAX_BODY))
}
