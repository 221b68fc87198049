//! An engine session that a driver has prepared, and how long it is on its engine.

use super::affinity::{AffinityKey, AffinityLock};
use crate::sessions::LiveSession;
use berth_scheduler::accounting::{EngineSession, EngineSessionStatus};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What identifies an engine session: its engine, and the headers of the driver.
pub(super) type SessionKey = (SocketAddr, BTreeMap<String, String>);

/// An engine session.
pub(super) struct PreparedSession {
    /// The index of its pool.
    pub(super) pool: usize,
    /// The name of its engine, and the address.
    pub(super) engine: String,
    pub(super) address: SocketAddr,
    /// The headers by which the driver identifies it.
    pub(super) headers: BTreeMap<String, String>,
    /// The login session that it belongs to.
    pub(super) login: Arc<LiveSession>,
    pub(super) presence: Presence,
    /// Where later sockets find it, if any can.
    pub(super) affinity: Option<(AffinityKey, AffinityLock)>,
}

/// How long an engine session is on its engine.
pub(super) enum Presence {
    /// As the accounting of the engine says.
    Counted(EngineSession),
    /// Another process has prepared it.
    Adopted(Mutex<Adopted>),
}

pub(super) struct Adopted {
    /// The streams that are open in it.
    pub(super) streams: BTreeSet<String>,
    /// When it has ended by itself.
    pub(super) until: Instant,
    /// The time that it outlives its last stream.
    pub(super) ttl: Duration,
}

impl PreparedSession {
    pub(super) fn key(&self) -> SessionKey {
        (self.address, self.headers.clone())
    }

    pub(super) fn status(&self, now: Instant) -> EngineSessionStatus {
        match &self.presence {
            Presence::Counted(session) => session.status(now),
            Presence::Adopted(adopted) => {
                let adopted = adopted.lock();
                if now >= adopted.until {
                    EngineSessionStatus::Ended
                } else if adopted.streams.is_empty() {
                    let until = adopted.until;
                    EngineSessionStatus::Lingering { until }
                } else {
                    EngineSessionStatus::InUse
                }
            }
        }
    }

    /// Whether it is this session of the accounting.
    pub(super) fn is_counted_as(&self, other: &EngineSession) -> bool {
        matches!(&self.presence, Presence::Counted(session) if session == other)
    }

    pub(super) fn close_stream(&self, stream: &str, now: Instant) {
        if let Presence::Adopted(adopted) = &self.presence {
            let mut adopted = adopted.lock();
            if adopted.streams.remove(stream) && adopted.streams.is_empty() {
                adopted.until = adopted.until.min(now + adopted.ttl);
            }
        }
    }

    /// The engine has ended it.
    pub(super) fn end(&self, now: Instant) {
        if let Presence::Counted(session) = &self.presence {
            session.end(now);
        }
    }
}
