//! A `GET` request to an engine, without proxies and redirects, with limits on time and size. Does not know what the
//! response means.

use super::ProbeFault;
use crate::core::http_client;
use std::net::SocketAddr;
use std::time::Duration;

/// Size limit of a response. A healthcheck with thousands of documents and the metrics of an engine are smaller.
const MAX_BODY: usize = 1024 * 1024;

/// A client that connects only to the address of the URL.
pub(super) fn client(limit: Duration) -> Result<reqwest::Client, reqwest::Error> {
    http_client::client_builder()
        .connect_timeout(limit)
        .timeout(limit)
        // No keep-alive: a probe on an open connection would not detect that the engine accepts no new ones.
        .pool_max_idle_per_host(0)
        .build()
}

/// The body of `http://{at}{path}`.
pub(super) async fn get(
    client: &reqwest::Client,
    address: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<Vec<u8>, ProbeFault> {
    let fault = |e: reqwest::Error| {
        if e.is_timeout() {
            ProbeFault::Timeout(limit)
        } else {
            ProbeFault::Connect(http_client::root_cause(&e))
        }
    };
    let response = client
        .get(format!("http://{address}{path}"))
        .send()
        .await
        .map_err(fault)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(ProbeFault::Status(response.status().as_u16()));
    }
    let body = http_client::read_body(response, MAX_BODY)
        .await
        .map_err(fault)?;
    body.ok_or(ProbeFault::TooLong(MAX_BODY))
}
