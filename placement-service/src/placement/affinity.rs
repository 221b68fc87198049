//! Session affinity: which engine session a tab, or a whole login session, has on which engine, and the return to it:
//! on the same engine, at the same address, while the engine still has it. A session leaves a live engine session only
//! if the engine is gone, unhealthy or draining, never because another engine has more capacity. Bounded, and in the memory
//! of this process; `tab_store` has the same in the store.

use super::attempts::PreparedEngine;
use super::pool;
use super::selection::PlacementTask;
use super::{PlaceRequest, PlacementService, stream_name};
use crate::config::Sharing;
use crate::engines::drivers::open_target::OpenTarget;
use crate::engines::drivers::{DriverFault, RequestMutation};
use crate::placement::routes::RouteTarget;
use berth_scheduler::accounting::EngineSession;
use berth_scheduler::engine::{Engine, EngineName, State};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

/// Maximum number of entries, about 400 bytes each; the least recently used are evicted first.
const MAX_ENTRIES: u64 = 200_000;

/// Identifies what returns to the same engine session: a hash of login session, document or path, and tab, so
/// that all keys have one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AffinityKey([u8; 32]);

impl AffinityKey {
    /// `None`: the socket always gets an engine session of its own.
    pub(super) fn for_request(
        target: &RouteTarget,
        request: &PlaceRequest<'_>,
        sharing: Sharing,
    ) -> Option<Self> {
        // A session app is created for each socket, so it is never shared.
        let session_sharing =
            sharing == Sharing::PerDocument && target.open_target != OpenTarget::SessionApp;
        let tab = match request.tab {
            _ if session_sharing => "",
            tab => tab.filter(|tab| !tab.is_empty())?,
        };
        let path = request.path.split('?').next().unwrap_or_default();
        let (kind, document) = match &target.open_target {
            OpenTarget::Nothing => ("path", path),
            OpenTarget::Document(name) => ("document", name.as_str()),
            OpenTarget::SessionApp => ("session-app", path),
        };
        let mut hash = Sha256::new();
        hash.update(target.pool.to_be_bytes());
        for part in [request.session.session_ref.as_str(), kind, document, tab] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Some(Self(hash.finalize().into()))
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// An engine session that was prepared for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AffinityEntry {
    pub(super) engine: EngineName,
    /// Distinguishes the engine from a later one of the same name.
    pub(super) address: SocketAddr,
    /// Also distinguishes it, if its discovery tells one.
    pub(super) incarnation: Option<Arc<str>>,
    /// The headers by which the driver identifies the engine session.
    pub(super) headers: BTreeMap<String, String>,
    /// Its entry in the accounting of the engine.
    pub(super) session: EngineSession,
}

impl AffinityEntry {
    pub(super) fn new(engine: &Engine, prepared: RequestMutation, session: EngineSession) -> Self {
        Self {
            engine: engine.name.clone(),
            address: engine.endpoint.api,
            incarnation: engine.incarnation.clone(),
            headers: prepared.set_headers,
            session,
        }
    }
}

/// One entry. Locked while it is resumed or created, so that two sockets opened at once do not create two
/// engine sessions.
pub(super) type AffinityLock = Arc<Mutex<Option<AffinityEntry>>>;

/// The entries of all sessions.
#[derive(Debug)]
pub(super) struct SessionAffinity(Cache<AffinityKey, AffinityLock>);

impl SessionAffinity {
    /// An entry is useless after the end of its login session, which lasts at most `max_ttl`.
    pub(super) fn new(max_ttl: Duration) -> Self {
        Self(
            Cache::builder()
                .max_capacity(MAX_ENTRIES)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(max_ttl)
                .build(),
        )
    }

    /// The entry of this key; empty if there is none yet.
    pub(super) fn entry(&self, key: AffinityKey) -> AffinityLock {
        self.0.get_with(key, Arc::default)
    }

    /// The entry, unless it is locked.
    pub(super) fn peek(&self, key: AffinityKey) -> Option<AffinityEntry> {
        self.0.get(&key)?.try_lock().ok()?.clone()
    }

    /// Keeps a created entry, also if a previous holder of the lock has removed it meanwhile.
    pub(super) fn insert(&self, key: AffinityKey, slot: &AffinityLock) {
        self.0.insert(key, Arc::clone(slot));
    }

    /// Removes an entry for which no engine session was created.
    pub(super) fn remove(&self, key: AffinityKey) {
        self.0.invalidate(&key);
    }
}

impl PlacementService {
    /// The engine of an affinity entry, if a session may return there.
    pub(super) fn attached_engine(
        &self,
        pool: usize,
        entry: &AffinityEntry,
    ) -> Option<Arc<Engine>> {
        let engine = self.find_engine(pool, &entry.engine)?;
        let is_same =
            engine.endpoint.api == entry.address && engine.may_be(entry.incarnation.as_deref());
        let is_up = engine.state != State::Unhealthy;
        let is_staying = !engine.accounting.snapshot(Instant::now()).draining;
        (is_same && is_up && is_staying).then_some(engine)
    }

    /// An engine of a pool by its name.
    pub(super) fn find_engine(&self, pool: usize, name: &EngineName) -> Option<Arc<Engine>> {
        let fleet = self.fleet.snapshot();
        let engines = &fleet.pools().get(pool)?.engines;
        let position = engines.binary_search_by(|engine| engine.name.cmp(name));
        engines.get(position.ok()?).cloned()
    }

    /// Returns to the engine session of the affinity entry; `None` if it no longer exists there.
    pub(super) async fn resume(
        &self,
        task: PlacementTask<'_>,
        entry: &AffinityEntry,
    ) -> Option<PreparedEngine> {
        let PlacementTask { pool, request, .. } = task;
        let engine = self.attached_engine(task.target.pool, entry)?;
        let connecting = timeout_at(task.deadline, self.connecting.acquire()).await;
        let connecting = connecting.ok()?.ok()?;
        let started_at = Instant::now();
        // The engine session counts already: it needs no further capacity.
        let mut reservation = entry.session.join(started_at).unwrap_or_else(|| {
            // Does not count as a selection for the strategy's rotation: reuses the turn of the engine.
            let turn = engine.accounting.snapshot(started_at).turn;
            engine.accounting.reserve(turn)
        });
        reservation.confirm(stream_name, (None, None)).await;
        let job =
            task.prepare_request(&engine, started_at + self.limits.engine_timeout, connecting);
        let result = pool.driver.resume(job, &entry.headers).await;
        let now = Instant::now();
        let outcome = match &result {
            Ok(Some(_)) => "resumed",
            Ok(None) => "session-gone",
            Err(fault) => DriverFault::as_str(fault),
        };
        self.metrics
            .record_attempt(&pool.name, outcome, now - started_at);
        pool::record_outcome(&pool.name, &engine, result.as_ref().err(), started_at, now);
        let session = &request.session.session_ref;
        debug!(pool = %pool.name, engine = %engine.name, session, outcome, "tried to return to the engine session");
        if matches!(result, Ok(None)) {
            drop(reservation);
            entry.session.end(now);
            return None;
        }
        Some(PreparedEngine {
            prepared: result.ok()??,
            engine,
            reservation: Some(reservation),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::LiveSession;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(
        session: &Arc<LiveSession>,
        document: &str,
        tab: Option<&str>,
        sharing: Sharing,
    ) -> Option<AffinityKey> {
        let target = RouteTarget {
            pool: 0,
            open_target: OpenTarget::Document(document.to_owned()),
        };
        let request = PlaceRequest {
            session,
            token: "t",
            host: "",
            path: "/app/x?y",
            upgrade: true,
            tab,
        };
        AffinityKey::for_request(&target, &request, sharing)
    }

    fn session(name: &str) -> Arc<LiveSession> {
        Arc::new(LiveSession {
            session_ref: name.to_owned(),
            ..LiveSession::default()
        })
    }

    #[test]
    fn an_entry_is_found_even_if_it_was_removed_meanwhile() {
        let all = SessionAffinity::new(Duration::from_secs(60));
        let key = key(&session("s"), "d", Some("t"), Sharing::PerConnection).unwrap();
        let waiting_entry = all.entry(key);
        all.remove(key);
        all.insert(key, &waiting_entry);
        assert!(Arc::ptr_eq(&all.entry(key), &waiting_entry));
    }

    #[test]
    fn without_a_tab_name_only_shared_sessions_have_a_key() {
        let key_of = |tab, sharing| key(&session("s"), "d", tab, sharing);
        assert_eq!(key_of(None, Sharing::PerConnection), None);
        assert_eq!(key_of(Some(""), Sharing::PerConnection), None);
        let shared_key = key_of(None, Sharing::PerDocument);
        assert!(shared_key.is_some());
        assert_eq!(key_of(Some("t"), Sharing::PerDocument), shared_key);
        assert_ne!(key_of(Some("t"), Sharing::PerConnection), shared_key);
    }

    proptest! {
        /// A difference in any part gives another key; the parts cannot run into one another.
        #[test]
        fn each_session_document_and_tab_has_its_own_key(
            all in prop::collection::vec(("[ab]{0,3}", "[ab]{0,3}", "[ab]{1,3}"), 2..40)
        ) {
            let mut seen: HashMap<AffinityKey, (String, String, String)> = HashMap::new();
            for (who, what, tab) in all {
                let key = key(&session(&who), &what, Some(&tab), Sharing::PerConnection).unwrap();
                let asked = (who, what, tab);
                let first = seen.entry(key).or_insert_with(|| asked.clone());
                prop_assert_eq!(&*first, &asked);
            }
        }

        /// The number of entries is bounded.
        #[test]
        fn the_number_of_entries_is_bounded(names in prop::collection::vec("[a-z]{1,8}", 0..50)) {
            let affinity = SessionAffinity(Cache::builder().max_capacity(10).build());
            for name in &names {
                let key = key(&session(name), "d", None, Sharing::PerDocument).unwrap();
                affinity.entry(key);
            }
            affinity.0.run_pending_tasks();
            prop_assert!(affinity.0.entry_count() <= 10);
        }
    }
}
