//! The deadlines of the client of one connection: the first byte, the complete head and the complete body of a request
//! must each arrive within the request timeout. A client that has completed a request may then be idle without limit.
//! Reads no bytes itself; `stream` and `worker` report what arrives.

use super::connections::{CloseCause, Connections};
use axum::http::Version;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::{Instant, timeout};

/// The state of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A request is due, and no byte of it has arrived.
    AwaitingRequest(Instant),
    /// A part of a request head has arrived.
    ReadingHead(Instant),
    /// This number of requests wait for their responses.
    AwaitingResponses(u32),
    /// All requests are answered; the client may send another one.
    Idle,
}

struct State {
    phase: Phase,
    /// The client has sent a complete request.
    complete: bool,
    /// HTTP/2: bytes also arrive between requests, so they do not start the timeout of a head. A client that stops
    /// within a head cannot answer pings either, and the timeout of a ping closes the connection.
    multiplexed: bool,
}

/// The client of one connection.
pub(super) struct Client {
    id: u64,
    connections: Arc<Connections>,
    state: Mutex<State>,
}

/// A request in progress: the service waits for the body, or the client waits for the response.
pub(crate) struct Exchange {
    client: Arc<Client>,
    timed_out: AtomicBool,
}

/// The body of a request did not arrive in time.
pub(crate) struct BodyTimeout;

impl Client {
    pub(super) fn new(id: u64, connections: Arc<Connections>) -> Self {
        let state = State {
            phase: Phase::AwaitingRequest(Instant::now() + connections.request_timeout),
            complete: false,
            multiplexed: false,
        };
        Self {
            id,
            connections,
            state: Mutex::new(state),
        }
    }

    /// Bytes have arrived.
    pub(super) fn record_bytes(&self) {
        let mut state = self.state();
        let begins_request = match state.phase {
            Phase::AwaitingRequest(_) => true,
            Phase::Idle => !state.multiplexed,
            Phase::ReadingHead(_) | Phase::AwaitingResponses(_) => false,
        };
        if begins_request {
            state.phase = Phase::ReadingHead(Instant::now() + self.connections.request_timeout);
        }
    }

    /// When the client must have sent more; `None` if nothing is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state().phase {
            Phase::AwaitingRequest(deadline) | Phase::ReadingHead(deadline) => Some(deadline),
            Phase::AwaitingResponses(_) | Phase::Idle => None,
        }
    }

    /// A complete head has arrived.
    pub(super) fn begin_exchange(self: &Arc<Self>, version: Version) -> Arc<Exchange> {
        let mut state = self.state();
        state.multiplexed = version == Version::HTTP_2;
        state.phase = match state.phase {
            Phase::AwaitingResponses(requests) => {
                Phase::AwaitingResponses(requests.saturating_add(1))
            }
            _ => Phase::AwaitingResponses(1),
        };
        drop(state);
        Arc::new(Exchange {
            client: self.clone(),
            timed_out: AtomicBool::new(false),
        })
    }

    /// Counts a connection that is closed, or a request that is aborted, because the client was too slow.
    pub(super) fn count_timeout(&self) {
        self.connections.count_closed(CloseCause::Timeout);
    }

    fn mark_complete(&self) {
        let is_first = !std::mem::replace(&mut self.state().complete, true);
        if is_first {
            self.connections.protect_from_closing(self.id);
        }
    }

    fn end_exchange(&self) {
        let mut state = self.state();
        state.phase = match state.phase {
            Phase::AwaitingResponses(requests) if requests > 1 => {
                Phase::AwaitingResponses(requests - 1)
            }
            _ if state.complete => Phase::Idle,
            _ => Phase::AwaitingRequest(Instant::now() + self.connections.request_timeout),
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Exchange {
    /// Waits for the body, at most for the request timeout.
    pub(crate) async fn read_body<T>(
        &self,
        body: impl Future<Output = T>,
    ) -> Result<T, BodyTimeout> {
        let Ok(body) = timeout(self.client.connections.request_timeout, body).await else {
            self.timed_out.store(true, Ordering::Relaxed);
            self.client.count_timeout();
            return Err(BodyTimeout);
        };
        self.mark_complete();
        Ok(body)
    }

    /// The request is complete, or is answered without the rest of its body.
    pub(super) fn mark_complete(&self) {
        if !self.timed_out.load(Ordering::Relaxed) {
            self.client.mark_complete();
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.client.end_exchange();
    }
}
