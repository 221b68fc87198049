//! Connections that have said goodbye and wait for the engine to close first, so that no port of ours
//! lingers. One task looks after all of them now and then: a task and two wake-ups for each would cost
//! a placement a fifth of its processor time.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How often is looked.
const SWEEP: Duration = Duration::from_millis(50);
/// How long an engine may take to close.
const GOODBYE: Duration = Duration::from_secs(1);
/// Connections that wait at most, each with an open file; one more is reset at once.
const MAX: usize = 4096;

/// The connections that wait.
#[derive(Debug)]
pub(super) struct Farewells {
    waiting: Arc<Waiting>,
    sweeper: AbortHandle,
}

#[derive(Debug, Default)]
struct Waiting {
    connections: Mutex<Vec<(Instant, TcpStream)>>,
    first: Notify,
}

impl Default for Farewells {
    fn default() -> Self {
        let waiting = Arc::<Waiting>::default();
        let sweeper = tokio::spawn(sweep(Arc::clone(&waiting))).abort_handle();
        Self { waiting, sweeper }
    }
}

impl Drop for Farewells {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

impl Farewells {
    /// Takes over a connection on which nothing is left to be said.
    pub(super) fn wait_for_the_end(&self, connection: tokio::net::TcpStream) {
        // Without the runtime, what comes in wakes nobody. The socket stays non-blocking.
        let Ok(connection) = connection.into_std() else {
            return;
        };
        let mut connections = self.waiting.connections();
        if connections.len() >= MAX {
            drop(connections);
            reset(connection);
            return;
        }
        connections.push((Instant::now(), connection));
        if connections.len() == 1 {
            self.waiting.first.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.waiting.connections().len()
    }
}

impl Waiting {
    fn connections(&self) -> MutexGuard<'_, Vec<(Instant, TcpStream)>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(waiting: Arc<Waiting>) {
    loop {
        waiting.first.notified().await;
        while !waiting.connections().is_empty() {
            tokio::time::sleep(SWEEP).await;
            let now = Instant::now();
            let mut connections = waiting.connections();
            for (since, connection) in std::mem::take(&mut *connections) {
                if ended(&connection) {
                    continue;
                }
                if now < since + GOODBYE {
                    connections.push((since, connection));
                } else {
                    reset(connection);
                }
            }
        }
    }
}

/// Gives up on an engine that does not close, without a port that lingers.
fn reset(connection: TcpStream) {
    if let Ok(connection) = tokio::net::TcpStream::from_std(connection) {
        let _ = connection.set_zero_linger();
    }
}

/// Reads what has come, which is of no interest, up to the end if it has come.
fn ended(mut connection: &TcpStream) -> bool {
    let mut words = [0; 512];
    // An engine that goes on talking is not listened to for ever.
    for _ in 0..8 {
        match connection.read(&mut words) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != ErrorKind::WouldBlock,
        }
    }
    false
}
