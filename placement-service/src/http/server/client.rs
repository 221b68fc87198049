//! What the client of one connection owes the service: the first byte, a whole head, a whole body, each within
//! the time for it. A client that has completed a request may then be idle for as long as it likes.

use super::connections::{CloseCause, Connections};
use axum::http::Version;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::{Instant, timeout};

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has to send a request, and has sent no byte of it.
    Silent(Instant),
    /// It has sent a part of a head.
    Head(Instant),
    /// It waits for this number of answers.
    Busy(u32),
    /// It has been answered, and may send another request.
    Idle,
}

struct State {
    phase: Phase,
    /// It has sent a whole request.
    complete: bool,
    /// HTTP/2: bytes may come between requests, too. A client that begins a head there and does not end it
    /// answers no ping, which ends the connection.
    multiplexed: bool,
}

/// The client of one connection.
pub(super) struct Client {
    id: u64,
    connections: Arc<Connections>,
    state: Mutex<State>,
}

/// A request under way; the service waits for its body, or the client for the answer.
pub(crate) struct Exchange {
    client: Arc<Client>,
    late: AtomicBool,
}

/// The body of a request did not come in time.
pub(crate) struct BodyTimeout;

impl Client {
    pub(super) fn new(id: u64, connections: Arc<Connections>) -> Self {
        let state = State {
            phase: Phase::Silent(Instant::now() + connections.request_timeout),
            complete: false,
            multiplexed: false,
        };
        Self {
            id,
            connections,
            state: Mutex::new(state),
        }
    }

    /// Bytes have come.
    pub(super) fn received(&self) {
        let mut state = self.state();
        let begins = match state.phase {
            Phase::Silent(_) => true,
            Phase::Idle => !state.multiplexed,
            Phase::Head(_) | Phase::Busy(_) => false,
        };
        if begins {
            state.phase = Phase::Head(Instant::now() + self.connections.request_timeout);
        }
    }

    /// Until when the client has to go on.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state().phase {
            Phase::Silent(deadline) | Phase::Head(deadline) => Some(deadline),
            Phase::Busy(_) | Phase::Idle => None,
        }
    }

    /// A whole head has come.
    pub(super) fn begin(self: &Arc<Self>, version: Version) -> Arc<Exchange> {
        let mut state = self.state();
        state.multiplexed = version == Version::HTTP_2;
        state.phase = match state.phase {
            Phase::Busy(requests) => Phase::Busy(requests.saturating_add(1)),
            _ => Phase::Busy(1),
        };
        drop(state);
        Arc::new(Exchange {
            client: self.clone(),
            late: AtomicBool::new(false),
        })
    }

    /// The connection is closed, or a request given up, because the client took too long.
    pub(super) fn timed_out(&self) {
        self.connections.closed(CloseCause::Timeout);
    }

    fn complete(&self) {
        let is_news = !std::mem::replace(&mut self.state().complete, true);
        if is_news {
            self.connections.keep(self.id);
        }
    }

    fn end(&self) {
        let mut state = self.state();
        state.phase = match state.phase {
            Phase::Busy(requests) if requests > 1 => Phase::Busy(requests - 1),
            _ if state.complete => Phase::Idle,
            _ => Phase::Silent(Instant::now() + self.connections.request_timeout),
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exchange {
    /// Waits for the body, for as long as it may take.
    pub(crate) async fn body<T>(&self, body: impl Future<Output = T>) -> Result<T, BodyTimeout> {
        let Ok(body) = timeout(self.client.connections.request_timeout, body).await else {
            self.late.store(true, Ordering::Relaxed);
            self.client.timed_out();
            return Err(BodyTimeout);
        };
        self.complete();
        Ok(body)
    }

    /// The request has come whole, or is answered without the rest of it.
    pub(super) fn complete(&self) {
        if !self.late.load(Ordering::Relaxed) {
            self.client.complete();
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.client.end();
    }
}
