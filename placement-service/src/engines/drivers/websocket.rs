//! The driver of any WebSocket server. The server gets the client's request without Berth's own query parameter, and
//! otherwise unchanged. The driver only checks that the server accepts connections, because Envoy would answer the
//! client with an error otherwise. Sends no data to the server.

mod checks;

use super::{DriverFault, EngineDriver, PrepareRequest, RequestMutation};
use crate::engines::drivers::open_target::without_query_parameter;
use async_trait::async_trait;
use checks::Checks;
use std::collections::BTreeMap;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// The query parameter that identifies a browser tab. It is meant for Berth, and the server does not get it.
const TAB_PARAMETER: &str = "berth_tab";

/// The driver of `websocket` pools.
#[derive(Debug, Default)]
pub struct Websocket(Checks);

#[async_trait]
impl EngineDriver for Websocket {
    async fn prepare(&self, job: PrepareRequest<'_>) -> Result<RequestMutation, DriverFault> {
        if job.dry_run || !self.0.can_skip(job.engine, Instant::now()) {
            let connected = timeout_at(job.first_response_by, TcpStream::connect(job.engine)).await;
            let result = connected
                .map_err(|_| DriverFault::NoResponse)
                .and_then(|connected| {
                    let refused = |e: std::io::Error| DriverFault::Connect(e.to_string());
                    self.0
                        .record_success(job.engine, connected.map_err(refused)?);
                    Ok(())
                });
            if let Err(fault) = result {
                self.0.record_failure(job.engine);
                return Err(fault);
            }
        }
        Ok(RequestMutation {
            path: without_query_parameter(job.path, TAB_PARAMETER),
            set_headers: BTreeMap::new(),
        })
    }

    /// Always resumes, because Berth does not know the sessions of the server.
    async fn resume(
        &self,
        job: PrepareRequest<'_>,
        _: &BTreeMap<String, String>,
    ) -> Result<Option<RequestMutation>, DriverFault> {
        self.prepare(job).await.map(Some)
    }

    fn keeps_sessions(&self) -> bool {
        false
    }

    /// Nothing to end: Berth does not know the sessions of the server.
    async fn end(
        &self,
        _: PrepareRequest<'_>,
        _: &BTreeMap<String, String>,
    ) -> Result<(), DriverFault> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
