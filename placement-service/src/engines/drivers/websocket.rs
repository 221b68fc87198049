//! The driver of any WebSocket server. The server gets the client's request without Berth's own query parameter, and
//! otherwise unchanged. The driver only checks that the server accepts connections, because Envoy would answer the
//! client with an error otherwise. Sends no data to the server.

mod checks;

use super::{EngineDriver, Fault, Job, Prepared};
use crate::engines::drivers::opening::without_query_parameter;
use async_trait::async_trait;
use checks::Checks;
use std::collections::BTreeMap;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// The query parameter that identifies a browser tab. It is meant for Berth, and the server does not get it.
const TAB: &str = "berth_tab";

/// The driver of `websocket` pools.
#[derive(Debug, Default)]
pub struct Websocket(Checks);

#[async_trait]
impl EngineDriver for Websocket {
    async fn prepare(&self, job: Job<'_>) -> Result<Prepared, Fault> {
        if job.rehearsal || !self.0.vouch(job.engine, Instant::now()) {
            let connected = timeout_at(job.first_word, TcpStream::connect(job.engine)).await;
            let result = connected.map_err(|_| Fault::Silent).and_then(|connected| {
                let refused = |e: std::io::Error| Fault::Connect(e.to_string());
                self.0.passed(job.engine, connected.map_err(refused)?);
                Ok(())
            });
            if let Err(fault) = result {
                self.0.failed(job.engine);
                return Err(fault);
            }
        }
        Ok(Prepared {
            path: without_query_parameter(job.path, TAB),
            set_headers: BTreeMap::new(),
        })
    }

    /// Always resumes, because Berth does not know the sessions of the server.
    async fn rejoin(
        &self,
        job: Job<'_>,
        _: &BTreeMap<String, String>,
    ) -> Result<Option<Prepared>, Fault> {
        self.prepare(job).await.map(Some)
    }
}

#[cfg(test)]
mod tests;
