//! Any WebSocket server: it gets the client's request as it is. All that is checked is that somebody
//! accepts connections there, because Envoy would answer the client with an error otherwise.

use super::{EngineDriver, Fault, Job, Prepared};
use crate::target::without_query_parameter;
use async_trait::async_trait;
use std::collections::BTreeMap;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

/// The query parameter that is between the client and Berth.
const TAB: &str = "berth_tab";

/// The driver of `websocket` pools.
#[derive(Clone, Copy, Debug)]
pub struct Websocket;

#[async_trait]
impl EngineDriver for Websocket {
    async fn prepare(&self, job: Job<'_>) -> Result<Prepared, Fault> {
        match timeout_at(job.first_word, TcpStream::connect(job.engine)).await {
            Ok(Ok(stream)) => {
                // Reset instead of closing: a port that lingers after each placement would run us out
                // of ports at a few hundred placements a second.
                let _ = stream.set_zero_linger();
                Ok(Prepared {
                    path: without_query_parameter(job.path, TAB),
                    set_headers: BTreeMap::new(),
                })
            }
            Ok(Err(e)) => Err(Fault::Connect(e.to_string())),
            Err(_) => Err(Fault::Silent),
        }
    }
}
