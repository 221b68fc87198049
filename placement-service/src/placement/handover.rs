//! The engine sessions that a process leaves behind at its shutdown, in the store, for the replicas that go on or the
//! process that starts next: it ends them with their login sessions. After a crash they end by their time to live.
//! Ends nothing itself.

use super::PlacementService;
use super::prepared_session::{Adopted, PreparedSession, Presence};
use crate::core::ticker::ticker;
use crate::sessions::LiveSession;
use berth_scheduler::accounting::EngineSessionStatus;
use berth_store::{Coordination, StoreError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{info, warn};

/// Prefix of the store's values with engine sessions.
const KEY_PREFIX: &str = "engine-sessions/";
/// Maximum number of engine sessions that are handed over. Further ones end by themselves.
const MAX_RECORDS: usize = 20_000;
/// Engine sessions in one value.
const RECORDS_PER_VALUE: usize = 200;
/// How often a process looks for what others have left behind.
const INTERVAL: Duration = Duration::from_secs(2);

/// An engine session as the store keeps it. Contains no token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EngineSessionRecord {
    pub(super) pool: String,
    pub(super) engine: String,
    pub(super) address: SocketAddr,
    /// The headers by which the driver identifies it.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) login: LiveSession,
    /// The streams that are open in it.
    pub(super) streams: BTreeSet<String>,
    /// Unix seconds when it has ended by itself.
    pub(super) until_s: u64,
}

/// Takes over engine sessions until it is stopped.
pub struct Handover {
    store: Arc<dyn Coordination>,
    placement: Arc<PlacementService>,
    task: AbortHandle,
}

impl Handover {
    /// Starts to take over what other processes leave behind.
    #[must_use]
    pub fn start(store: Arc<dyn Coordination>, placement: Arc<PlacementService>) -> Self {
        let (values, service) = (Arc::clone(&store), Arc::clone(&placement));
        let task = tokio::spawn(async move {
            let mut ticks = ticker(INTERVAL);
            loop {
                ticks.tick().await;
                // The circuit breaker logs the failure, and the next attempt follows.
                let _ = take_over(values.as_ref(), &service).await;
            }
        });
        Self {
            store,
            placement,
            task: task.abort_handle(),
        }
    }

    /// Leaves the engine sessions of this process to others. For its shutdown: it places nothing any more.
    pub async fn hand_over(&self) {
        self.task.abort();
        let records = self.placement.engine_session_records(MAX_RECORDS);
        for records in records.chunks(RECORDS_PER_VALUE) {
            let name = format!("{KEY_PREFIX}{:032x}", rand::random::<u128>());
            let Ok(text) = serde_json::to_string(records) else {
                continue;
            };
            if let Err(error) = self.store.put_value(&name, Some(&text)).await {
                warn!(%error, "engine sessions are not handed over: they end by their time to live");
                return;
            }
        }
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take_over(
    store: &dyn Coordination,
    placement: &PlacementService,
) -> Result<(), StoreError> {
    for (name, text) in store.list_values(KEY_PREFIX).await? {
        // Two processes may read the same value: an engine session that is ended twice is not an error.
        store.put_value(&name, None).await?;
        match serde_json::from_str::<Vec<EngineSessionRecord>>(&text) {
            Ok(records) => {
                info!(sessions = records.len(), "engine sessions taken over");
                placement.adopt_engine_sessions(records);
            }
            Err(_) => warn!("engine sessions of another version are not taken over"),
        }
    }
    Ok(())
}

impl PlacementService {
    /// The engine sessions that have not ended, at most `limit`.
    fn engine_session_records(&self, limit: usize) -> Vec<EngineSessionRecord> {
        let (now, now_s) = (Instant::now(), self.clock.now_s());
        let sessions = self.engine_sessions.all(limit);
        let records = sessions.iter().filter_map(|(session, streams)| {
            let pool = self.pools.get(session.pool)?;
            let lifetime = match session.status(now) {
                EngineSessionStatus::Ended => return None,
                EngineSessionStatus::Lingering { until } => until.saturating_duration_since(now),
                EngineSessionStatus::InUse => {
                    // Its login session closes its streams at the latest.
                    let login_s = session.login.expires_at.saturating_sub(now_s);
                    Duration::from_secs(login_s) + pool.engine_session_ttl
                }
            };
            Some(EngineSessionRecord {
                pool: pool.name.to_string(),
                engine: session.engine.clone(),
                address: session.address,
                headers: session.headers.clone(),
                login: LiveSession::clone(&session.login),
                streams: streams.clone(),
                until_s: now_s.saturating_add(lifetime.as_secs()),
            })
        });
        records.collect()
    }

    fn adopt_engine_sessions(&self, records: Vec<EngineSessionRecord>) {
        let (now, now_s) = (Instant::now(), self.clock.now_s());
        for record in records {
            let mut pools = self.pools.iter().enumerate();
            let Some((index, pool)) = pools.find(|(_, pool)| *pool.name == *record.pool) else {
                continue;
            };
            let adopted = Adopted {
                streams: record.streams.clone(),
                until: now + Duration::from_secs(record.until_s.saturating_sub(now_s)),
                ttl: pool.engine_session_ttl,
            };
            let session = PreparedSession {
                pool: index,
                engine: record.engine,
                address: record.address,
                headers: record.headers,
                login: Arc::new(record.login),
                presence: Presence::Adopted(Mutex::new(adopted)),
                affinity: None,
            };
            let streams = record.streams.iter().map(String::as_str);
            self.engine_sessions.record(streams, session, now);
        }
    }
}
