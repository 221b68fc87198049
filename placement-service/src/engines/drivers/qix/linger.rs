//! Connections on which a close frame is sent, and which wait for the engine to close first, so that Berth's port does
//! not stay in TIME_WAIT. One task polls all of them, because a task and two wake-ups per connection would cost a
//! placement a fifth of its CPU time. Does not know what was sent on a connection.

use parking_lot::{Mutex, MutexGuard};
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How often the connections are polled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time limit for the engine to close; after that the connection is reset.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of connections, each with an open file descriptor. A further connection is reset at once.
const MAX_CONNECTIONS: usize = 4096;

/// The connections that wait for the engine to close, and the task that polls them.
#[derive(Debug)]
pub(super) struct LingeringConnections {
    list: Arc<ConnectionList>,
    sweeper: AbortHandle,
}

#[derive(Debug, Default)]
struct ConnectionList {
    connections: Mutex<Vec<(Instant, TcpStream)>>,
    added: Notify,
}

impl Default for LingeringConnections {
    fn default() -> Self {
        let connections = Arc::<ConnectionList>::default();
        let sweeper = tokio::spawn(sweep(Arc::clone(&connections))).abort_handle();
        Self {
            list: connections,
            sweeper,
        }
    }
}

impl Drop for LingeringConnections {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

impl LingeringConnections {
    /// Adds a connection on which a close frame is sent.
    pub(super) fn add(&self, connection: tokio::net::TcpStream) {
        // Detach the socket from the runtime, so that incoming data wakes no task. The socket stays non-blocking.
        let Ok(connection) = connection.into_std() else {
            return;
        };
        let mut connections = self.list.connections();
        if connections.len() >= MAX_CONNECTIONS {
            drop(connections);
            reset(connection);
            return;
        }
        connections.push((Instant::now(), connection));
        if connections.len() == 1 {
            self.list.added.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.list.connections().len()
    }
}

impl ConnectionList {
    fn connections(&self) -> MutexGuard<'_, Vec<(Instant, TcpStream)>> {
        self.connections.lock()
    }
}

async fn sweep(list: Arc<ConnectionList>) {
    loop {
        list.added.notified().await;
        while !list.connections().is_empty() {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = Instant::now();
            let mut connections = list.connections();
            for (since, connection) in std::mem::take(&mut *connections) {
                if is_closed(&connection) {
                    continue;
                }
                if now < since + CLOSE_TIMEOUT {
                    connections.push((since, connection));
                } else {
                    reset(connection);
                }
            }
        }
    }
}

/// Closes a connection with a TCP reset, which leaves no TIME_WAIT.
fn reset(connection: TcpStream) {
    if let Ok(connection) = tokio::net::TcpStream::from_std(connection) {
        let _ = connection.set_zero_linger();
    }
}

/// Discards received data. Returns true when the engine has closed, or the connection failed.
fn is_closed(mut connection: &TcpStream) -> bool {
    let mut buffer = [0; 512];
    // Bounded, so that an engine that sends without end does not occupy the task.
    for _ in 0..8 {
        match connection.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != ErrorKind::WouldBlock,
        }
    }
    false
}
