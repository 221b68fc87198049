//! Caches for a short time that an engine accepts connections. The connection of the check stays open for that time:
//! when the process of the engine ends, the kernel closes the connection at once, which invalidates the check. An
//! engine therefore gets at most 20 check connections a second instead of one per placement, and a dead engine is
//! still detected before a client is sent there. Decides no placement.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a check is valid.
pub(super) const VALIDITY: Duration = Duration::from_millis(50);

/// The last successful check of each engine of a pool, for two times [`VALIDITY`].
#[derive(Debug, Default)]
pub(super) struct Checks(Arc<Mutex<HashMap<SocketAddr, Check>>>);

#[derive(Debug)]
struct Check {
    checked_at: Instant,
    /// When a caller was last selected to check again.
    renewed_at: Instant,
    connection: std::net::TcpStream,
}

impl Check {
    /// Whether the engine has not closed the connection. Peeks, because a server may send data first.
    fn is_open(&self) -> bool {
        match self.connection.peek(&mut [0]) {
            Ok(bytes) => bytes > 0,
            Err(e) => e.kind() == ErrorKind::WouldBlock,
        }
    }
}

impl Checks {
    fn checks(&self) -> MutexGuard<'_, HashMap<SocketAddr, Check>> {
        self.0.lock()
    }

    /// Whether an engine needs no check now. When a check becomes too old, the first caller has to check again, and the
    /// others still rely on the old one.
    pub(super) fn can_skip(&self, engine: SocketAddr, now: Instant) -> bool {
        let mut checks = self.checks();
        let Some(check) = checks.get_mut(&engine) else {
            return false;
        };
        if !check.is_open() {
            checks.remove(&engine);
            return false;
        }
        let is_valid = now < check.renewed_at + VALIDITY;
        if !is_valid {
            check.renewed_at = now;
        }
        is_valid
    }

    /// Records that an engine has accepted a connection.
    pub(super) fn record_success(&self, engine: SocketAddr, connection: TcpStream) {
        // Reset instead of close, because the ports in TIME_WAIT after each check would run out.
        let _ = connection.set_zero_linger();
        let Ok(connection) = connection.into_std() else {
            return;
        };
        let checked_at = Instant::now();
        let check = Check {
            checked_at,
            renewed_at: checked_at,
            connection,
        };
        self.checks().insert(engine, check);
        let checks = Self(Arc::clone(&self.0));
        tokio::spawn(async move {
            tokio::time::sleep(2 * VALIDITY).await;
            let mut checks = checks.checks();
            // A later check may have replaced this one.
            if checks
                .get(&engine)
                .is_some_and(|c| c.checked_at == checked_at)
            {
                checks.remove(&engine);
            }
        });
    }

    /// Records that an engine has not accepted a connection.
    pub(super) fn record_failure(&self, engine: SocketAddr) {
        self.checks().remove(&engine);
    }
}
