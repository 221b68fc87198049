//! Any WebSocket server: it gets the client's request as it is. All that is checked is that somebody
//! accepts connections there, because Envoy would answer the client with an error otherwise.
//!
//! A connection that was accepted stays open for a moment and vouches for the engine until then: as
//! long as it is not closed, the engine's process lives. So many placements need one connection only,
//! and an engine that dies is still noticed at once.

mod vouching;

use super::{EngineDriver, Fault, Job, Prepared};
use crate::target::without_query_parameter;
use async_trait::async_trait;
use std::collections::BTreeMap;
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use vouching::Vouching;

/// The query parameter that is between the client and Berth.
const TAB: &str = "berth_tab";

/// The driver of `websocket` pools.
#[derive(Debug, Default)]
pub struct Websocket {
    vouching: Vouching,
}

#[async_trait]
impl EngineDriver for Websocket {
    async fn prepare(&self, job: Job<'_>) -> Result<Prepared, Fault> {
        if job.rehearsal || !self.vouching.is_accepting(job.engine) {
            match timeout_at(job.first_word, TcpStream::connect(job.engine)).await {
                Ok(Ok(stream)) if job.rehearsal => drop(stream.set_zero_linger()),
                Ok(Ok(stream)) => self.vouching.keep(job.engine, stream),
                Ok(Err(e)) => return Err(Fault::Connect(e.to_string())),
                Err(_) => return Err(Fault::Silent),
            }
        }
        Ok(Prepared {
            path: without_query_parameter(job.path, TAB),
            set_headers: BTreeMap::new(),
        })
    }
}
