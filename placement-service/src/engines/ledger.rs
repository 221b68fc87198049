//! The capacity ledger that replicas of the service share: the placements and open streams of each replica, so that
//! the limit of an engine holds over all of them. A placement under a limit is one atomic step in the ledger. All other
//! changes are sent in the background, and the counts of the other replicas return the same way. A single replica
//! has no ledger: its own accounting is complete.
//!
//! While the ledger does not respond, nothing is placed under a limit, because the free capacity is unknown. Pools
//! without limits continue with the last known counts. Must not know how an engine is chosen.

mod metrics;
mod shared_probes;
mod streams;
mod sync;

use crate::config;
use crate::core::clock::Clock;
use crate::core::secret::Secret;
use async_trait::async_trait;
use berth_scheduler::accounting::AccountingRegistry;
use berth_scheduler::capacity_ledger::{CapacityLedger, CapacityLimits, LedgerReply};
use berth_store::StoreError;
use berth_store::redis::{RedisLedger, ReserveResult, StreamChange};
use metrics::LedgerMetrics;
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::registry::Registry;
use rand::RngExt;
pub use shared_probes::SharedProbeResults;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use sync::LedgerSync;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Another replica becomes the prober when the current one has missed this number of heartbeats.
const MAX_MISSED_HEARTBEATS: u32 = 8;

/// The ledger as this replica uses it.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    redis: RedisLedger,
    settings: config::RedisLedger,
    state: Mutex<State>,
    /// Wakes the background task when changes are queued.
    notify: Notify,
    probes: SharedProbeResults,
    metrics: LedgerMetrics,
}

#[derive(Default)]
struct State {
    /// The ledger responds, and has all streams of this replica.
    up: bool,
    /// Changes are queued: the ledger is up, or a full resynchronization is in progress.
    queueing: bool,
    /// All replicas had sent their streams at least once.
    synced_once: bool,
    /// The streams of this replica, as the ledger should have them: one entry for each stream in the accounting.
    streams: HashMap<Arc<str>, StreamEntry>,
    /// Queued changes with their stream and engine, in order. Each call of the ledger takes all of them, and a call
    /// that exceeds `timeout` drops them, so that the queue never has more than the changes of that time.
    changes: Vec<(StreamChange, Arc<str>, Arc<str>)>,
}

struct StreamEntry {
    engine: Arc<str>,
    /// The ledger counts the stream. False while the request to reserve it is in progress.
    counted: bool,
    /// A gateway of this replica has opened the stream, and the ledger has not acknowledged that. Until then a
    /// report of the ledger that another replica has the stream is outdated.
    unacknowledged: bool,
}

/// The background task of the ledger. Dropping this ends it.
#[derive(Debug)]
pub struct LedgerTask(AbortHandle);

impl Drop for LedgerTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

impl Ledger {
    /// Opens the configured ledger. `None` when this is the only replica.
    ///
    /// # Errors
    /// When the ledger does not respond.
    pub async fn open(
        config: &config::Ledger,
        url: Option<&Secret>,
        clock: &dyn Clock,
        registry: &mut Registry,
    ) -> Result<Option<Self>, StoreError> {
        let (config::Ledger::Redis(settings), Some(url)) = (config, url) else {
            return Ok(None);
        };
        // Unique over restarts, so that the ledger does not take this process for its predecessor.
        let replica_id = format!("{:x}-{:016x}", clock.now_ms(), rand::rng().random::<u64>());
        // Within this time after Redis has returned, every replica notices and sends its streams.
        let settle = settings.sync * 3 + settings.timeout;
        // Shorter than the timeout of the callers, so that the connection is closed before they stop waiting.
        let probing = (settings.sync * MAX_MISSED_HEARTBEATS).min(settings.lease);
        let limit = settings.timeout.mul_f32(0.9);
        let durations = [limit, settings.lease, settle, probing];
        let redis =
            RedisLedger::open(url.reveal(), &settings.prefix, replica_id, durations).await?;
        Ok(Some(Self(Arc::new(Shared {
            redis,
            settings: settings.clone(),
            state: Mutex::default(),
            notify: Notify::new(),
            probes: SharedProbeResults::default(),
            metrics: LedgerMetrics::register(registry),
        }))))
    }

    /// Starts the background task that sends changes to the ledger and enters the counts of the other replicas in
    /// `accounting`.
    #[must_use]
    pub fn start_sync(&self, accounting: AccountingRegistry) -> LedgerTask {
        let sync = LedgerSync::new(self.clone(), accounting);
        LedgerTask(tokio::spawn(sync.run()).abort_handle())
    }

    /// The probe results that the replicas share.
    #[must_use]
    pub fn probes(&self) -> &SharedProbeResults {
        &self.0.probes
    }

    /// Whether all replicas had sent their streams at least once.
    #[must_use]
    pub fn has_synced_once(&self) -> bool {
        self.state().synced_once
    }

    /// Whether the ledger responds. Without it the free capacity is unknown.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state().up
    }

    fn record_stream(&self, change: StreamChange, stream: &Arc<str>, engine: &Arc<str>) {
        let mut state = self.state();
        state.insert_stream(stream, engine, true);
        if let Some(entry) = state.streams.get_mut(stream) {
            entry.unacknowledged = change == StreamChange::Opened;
        }
        if state.queueing {
            let change = (change, Arc::clone(stream), Arc::clone(engine));
            state.changes.push(change);
            drop(state);
            self.0.notify.notify_one();
        }
    }

    fn remove_stream(&self, change: StreamChange, stream: &str) {
        let mut state = self.state();
        let entry = state.streams.remove_entry(stream);
        if state.queueing && (entry.is_some() || change == StreamChange::Closed) {
            let stream = entry.map_or_else(|| Arc::from(stream), |(stream, _)| stream);
            state.changes.push((change, stream, Arc::default()));
            drop(state);
            self.0.notify.notify_one();
        }
    }

    /// Marks the ledger as stale until all streams have been sent again.
    fn mark_stale(&self) {
        self.state().mark_stale();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

#[async_trait]
impl CapacityLedger for Ledger {
    async fn reserve(
        &self,
        stream: &Arc<str>,
        engine: &Arc<str>,
        limits: CapacityLimits,
    ) -> LedgerReply {
        if limits == (None, None) {
            self.record_stream(StreamChange::Claim, stream, engine);
            return LedgerReply::Reserved;
        }
        {
            let mut state = self.state();
            if !state.up {
                self.0.metrics.record_reservation("unavailable");
                return LedgerReply::Unavailable("the ledger does not respond");
            }
            state.insert_stream(stream, engine, false);
        }
        let answer = self.0.redis.reserve(stream, engine, limits).await;
        let (outcome, confirmed) = match answer {
            Ok(ReserveResult::Reserved) => {
                self.state().insert_stream(stream, engine, true);
                ("ok", LedgerReply::Reserved)
            }
            Ok(ReserveResult::EngineFull {
                total,
                own: own_count,
            }) => {
                let remote = total.saturating_sub(own_count);
                ("engine-full", LedgerReply::EngineFull { remote })
            }
            Ok(ReserveResult::PoolFull) => ("pool-full", LedgerReply::PoolFull),
            Ok(ReserveResult::Settling) => (
                "settling",
                LedgerReply::Unavailable("the replicas are sending their streams to the ledger"),
            ),
            Ok(ReserveResult::LeaseExpired) => {
                self.mark_stale();
                (
                    "lease-expired",
                    LedgerReply::Unavailable("the ledger does not know this replica yet"),
                )
            }
            Err(error) => {
                tracing::debug!(%error, "no reservation");
                self.mark_stale();
                (
                    "unavailable",
                    LedgerReply::Unavailable("the ledger does not respond"),
                )
            }
        };
        self.0.metrics.record_reservation(outcome);
        confirmed
    }

    fn opened(&self, stream: &Arc<str>, engine: &Arc<str>) {
        self.record_stream(StreamChange::Opened, stream, engine);
    }

    fn released(&self, stream: &str) {
        self.remove_stream(StreamChange::Release, stream);
    }

    fn closed(&self, stream: &str) {
        self.remove_stream(StreamChange::Closed, stream);
    }
}

impl State {
    fn mark_stale(&mut self) {
        (self.up, self.queueing) = (false, false);
        self.changes.clear();
    }

    fn insert_stream(&mut self, stream: &Arc<str>, engine: &Arc<str>, is_counted: bool) {
        let entry = StreamEntry {
            engine: Arc::clone(engine),
            counted: is_counted,
            unacknowledged: false,
        };
        self.streams.insert(Arc::clone(stream), entry);
    }

    /// The ledger has applied these changes.
    fn acknowledge(&mut self, changes: &[(StreamChange, Arc<str>, Arc<str>)]) {
        for (change, stream, _) in changes {
            if let Some(entry) = self.streams.get_mut(stream)
                && *change == StreamChange::Opened
            {
                entry.unacknowledged = false;
            }
        }
    }
}
