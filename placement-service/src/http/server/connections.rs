//! Limits the connections of all listeners together, and decides which one to close for a new one at the limit. Knows
//! nothing of bytes and requests.

use crate::core::metrics::register_metric;
use crate::core::open_files;
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Minimum number of open files that is reserved for stores and engines, if the process may open at least twice as
/// many.
const MIN_RESERVED_FILES: usize = 128;

/// Why the service closed a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum CloseCause {
    /// At the limit, it was the oldest connection without a complete request.
    Limit,
    /// At the limit, every other connection had sent a complete request, so the new one was closed at once.
    Refused,
    /// Its client was too slow to send a request, or to read a response.
    Timeout,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

/// The open connections.
pub struct Connections {
    /// Maximum time for each part of a request.
    pub(super) request_timeout: Duration,
    limit: usize,
    slots: Arc<Semaphore>,
    /// The connections without a complete request, by age; at most `limit`.
    incomplete: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    next_id: AtomicU64,
    /// Whether the limit was reached and that is logged.
    limit_logged: AtomicBool,
    open: Gauge,
    closed: Family<CauseLabel, Counter>,
}

/// One open connection, counted until it is dropped.
pub(super) struct ConnectionSlot {
    pub(super) id: u64,
    connections: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// Allows `max_connections`, or fewer if the process may not open enough files.
    #[must_use]
    pub fn new(
        max_connections: usize,
        request_timeout: Duration,
        registry: &mut Registry,
    ) -> Arc<Self> {
        let limit = connection_limit(max_connections, open_files::max_open_files());
        tracing::info!(limit, "limit of HTTP connections");
        let help = "Connections that the service closed, by cause";
        Arc::new(Self {
            request_timeout,
            limit,
            slots: Arc::new(Semaphore::new(limit)),
            incomplete: Mutex::default(),
            next_id: AtomicU64::new(0),
            limit_logged: AtomicBool::new(false),
            open: register_metric(registry, "http_connections", "Open HTTP connections"),
            closed: register_metric(registry, "http_connections_closed", help),
        })
    }

    /// Admits one more connection. The receiver resolves when that connection must close for another one; an error of
    /// the receiver means that it never must. `None`: the connection must be closed at once.
    pub(super) async fn admit(self: &Arc<Self>) -> Option<(ConnectionSlot, oneshot::Receiver<()>)> {
        let permit = if let Ok(permit) = self.slots.clone().try_acquire_owned() {
            if self.slots.available_permits() > self.limit / 10 {
                self.limit_logged.store(false, Ordering::Relaxed);
            }
            permit
        } else {
            if !self.limit_logged.swap(true, Ordering::Relaxed) {
                let limit = self.limit;
                tracing::warn!(
                    limit,
                    "too many connections: closing those without a complete request, oldest first; \
                     if there are none, new ones are refused"
                );
            }
            if !self.close_oldest() {
                self.count_closed(CloseCause::Refused);
                return None;
            }
            // The closing connection frees a slot, unless another connection frees one first.
            self.slots.clone().acquire_owned().await.ok()?
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (close, closed) = oneshot::channel();
        self.incomplete().insert(id, close);
        self.open.inc();
        let slot = ConnectionSlot {
            id,
            connections: self.clone(),
            _permit: permit,
        };
        Some((slot, closed))
    }

    /// Closes the oldest connection without a complete request, if there is one.
    fn close_oldest(&self) -> bool {
        loop {
            let Some((_, close)) = self.incomplete().pop_first() else {
                return false;
            };
            // Fails if that connection has just ended by itself; then the next one is closed.
            if close.send(()).is_ok() {
                self.count_closed(CloseCause::Limit);
                return true;
            }
        }
    }

    /// A connection has sent a complete request, so it is not closed for another one.
    pub(super) fn protect_from_closing(&self, id: u64) {
        self.incomplete().remove(&id);
    }

    /// Counts a connection that the service closed.
    pub(super) fn count_closed(&self, cause: CloseCause) {
        let cause = match cause {
            CloseCause::Limit => "limit",
            CloseCause::Refused => "refused",
            CloseCause::Timeout => "timeout",
        };
        self.closed.get_or_create(&CauseLabel { cause }).inc();
    }

    fn incomplete(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.incomplete.lock()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.protect_from_closing(self.id);
        self.connections.open.dec();
    }
}

/// The limit of connections if the process may open `open_files` files: a quarter of the files is reserved for the rest
/// of the process, or more if there are few.
fn connection_limit(max_connections: usize, open_files: usize) -> usize {
    let reserve = (open_files / 4).max(MIN_RESERVED_FILES).min(open_files / 2);
    max_connections.min(open_files - reserve).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_reserved_for_the_rest_of_the_process() {
        for (configured, open_files, expected) in [
            (10_000, 1_000_000, 10_000),
            (10_000, 1_024, 768),
            (10_000, 256, 128),
            (10_000, 100, 50),
            (500, 1_024, 500),
            (10, 0, 1),
        ] {
            assert_eq!(
                connection_limit(configured, open_files),
                expected,
                "{open_files}"
            );
        }
    }
}
