//! Remembers for a moment that an engine accepts connections. The connection that proved it is kept
//! open meanwhile: when the engine's process ends, the kernel closes it at once and the memory is void.
//! So a busy gateway costs an engine 20 connections a second instead of one per placement, and a dead
//! engine is still noticed before a client is sent there.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a check vouches for an engine.
pub(super) const FRESH: Duration = Duration::from_millis(50);

/// The latest checks of a pool's engines: one for each, for two times [`FRESH`].
#[derive(Debug, Default)]
pub(super) struct Checks(Arc<Mutex<HashMap<SocketAddr, Check>>>);

#[derive(Debug)]
struct Check {
    at: Instant,
    /// When somebody was last sent to check again.
    renewed_at: Instant,
    connection: std::net::TcpStream,
}

impl Check {
    /// Not a byte is taken off: a server may speak first.
    fn is_open(&self) -> bool {
        match self.connection.peek(&mut [0]) {
            Ok(bytes) => bytes > 0,
            Err(e) => e.kind() == ErrorKind::WouldBlock,
        }
    }
}

impl Checks {
    fn checks(&self) -> MutexGuard<'_, HashMap<SocketAddr, Check>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an engine needs no check now. Of those that ask when a check has grown old, one is sent
    /// to check again.
    pub(super) fn vouch(&self, engine: SocketAddr, now: Instant) -> bool {
        let mut checks = self.checks();
        let Some(check) = checks.get_mut(&engine) else {
            return false;
        };
        if !check.is_open() {
            checks.remove(&engine);
            return false;
        }
        let fresh = now < check.renewed_at + FRESH;
        if !fresh {
            check.renewed_at = now;
        }
        fresh
    }

    /// An engine has accepted a connection.
    pub(super) fn passed(&self, engine: SocketAddr, connection: TcpStream) {
        // Reset in the end instead of closed: ports that linger after each check would run out.
        let _ = connection.set_zero_linger();
        let Ok(connection) = connection.into_std() else {
            return;
        };
        let at = Instant::now();
        let check = Check {
            at,
            renewed_at: at,
            connection,
        };
        self.checks().insert(engine, check);
        let checks = Self(Arc::clone(&self.0));
        tokio::spawn(async move {
            tokio::time::sleep(2 * FRESH).await;
            let mut checks = checks.checks();
            // Unless a later check has replaced it.
            if checks.get(&engine).is_some_and(|c| c.at == at) {
                checks.remove(&engine);
            }
        });
    }

    /// An engine has not.
    pub(super) fn failed(&self, engine: SocketAddr) {
        self.checks().remove(&engine);
    }
}
