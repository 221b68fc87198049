//! The statistics of the engine (`GET /admin/stats`).

use crate::engine::SharedState;
use serde::{Deserialize, Serialize};
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// A snapshot of the statistics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The engine's name.
    pub name: String,
    /// Live sessions, including those that wait for a socket.
    pub sessions: usize,
    /// Live sessions without a socket.
    pub waiting: usize,
    /// Open WebSockets.
    pub sockets: usize,
    /// Documents in memory.
    pub docs: Vec<String>,
    /// Sessions created since the start.
    pub created_total: u64,
    /// Sockets that attached to an existing session, since the start.
    pub attached_total: u64,
    /// Upgrade requests since the start, including refused ones.
    pub upgrades_total: u64,
    /// JSON-RPC requests since the start.
    pub requests_total: u64,
    /// Health checks since the start.
    pub healthchecks_total: u64,
}

impl Stats {
    pub(crate) fn from_shared(shared: &SharedState) -> Self {
        let count = shared.sessions.count();
        Self {
            name: shared.options.name.clone(),
            sessions: count.sessions,
            waiting: count.waiting,
            sockets: count.sockets,
            docs: shared.documents.loaded_names(),
            created_total: count.created,
            attached_total: count.attached,
            upgrades_total: shared.upgrades.total(),
            requests_total: shared.requests.total(),
            healthchecks_total: shared.healthchecks.load(Relaxed),
        }
    }
}

/// Counts JSON-RPC requests.
#[derive(Default)]
pub(crate) struct RequestCounter {
    total: AtomicU64,
    active: AtomicU64,
    micros: AtomicU64,
}

impl RequestCounter {
    pub(crate) fn begin(&self) {
        self.active.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Relaxed);
        self.total.fetch_add(1, Relaxed);
        self.active.fetch_sub(1, Relaxed);
    }

    /// Requests that were answered.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Requests that are being answered.
    pub(crate) fn active(&self) -> u64 {
        self.active.load(Relaxed)
    }

    /// Total time of all requests.
    pub(crate) fn total_duration(&self) -> Duration {
        Duration::from_micros(self.micros.load(Relaxed))
    }
}
