//! `GET` requests to an engine, without proxies and redirects, with limits on time and size. Does not know what a
//! response means.

use super::ProbeFault;
use crate::core::http_client;
use crate::engines::drivers::transport::EngineTransport;
use berth_scheduler::engine::Endpoint;
use std::net::SocketAddr;
use std::time::Duration;

/// Size limit of a response. A healthcheck with thousands of documents and the metrics of an engine are smaller.
const MAX_BODY: usize = 1024 * 1024;

/// A client that connects only to the address of the URL.
#[derive(Clone, Debug)]
pub struct EngineClient {
    client: reqwest::Client,
    /// Of requests to the engine's own port.
    scheme: &'static str,
}

impl EngineClient {
    pub(super) fn new(
        transport: &EngineTransport,
        limit: Duration,
    ) -> Result<Self, reqwest::Error> {
        let client = http_client::client_builder()
            .connect_timeout(limit)
            .timeout(limit)
            // No keep-alive: a probe on an open connection would not detect that the engine accepts no new ones.
            .pool_max_idle_per_host(0);
        Ok(Self {
            client: transport.apply_to(client).build()?,
            scheme: transport.scheme(),
        })
    }

    /// The body of a response from the engine's own port.
    pub(super) async fn get_from_engine(
        &self,
        address: SocketAddr,
        path: &str,
        limit: Duration,
    ) -> Result<Vec<u8>, ProbeFault> {
        let url = format!("{}://{address}{path}", self.scheme);
        self.get(url, limit).await
    }

    /// The body of a response with metrics. A port for metrics alone is plain HTTP: nothing there is secret.
    pub(super) async fn get_metrics(
        &self,
        endpoint: &Endpoint,
        address: SocketAddr,
        path: &str,
        limit: Duration,
    ) -> Result<Vec<u8>, ProbeFault> {
        if address == endpoint.api {
            return self.get_from_engine(address, path, limit).await;
        }
        self.get(format!("http://{address}{path}"), limit).await
    }

    async fn get(&self, url: String, limit: Duration) -> Result<Vec<u8>, ProbeFault> {
        let fault = |e: reqwest::Error| {
            if e.is_timeout() {
                ProbeFault::Timeout(limit)
            } else {
                ProbeFault::Connect(http_client::root_cause(&e))
            }
        };
        let response = self.client.get(url).send().await.map_err(fault)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(ProbeFault::Status(response.status().as_u16()));
        }
        let body = http_client::read_body(response, MAX_BODY)
            .await
            .map_err(fault)?;
        body.ok_or(ProbeFault::TooLong(MAX_BODY))
    }
}
