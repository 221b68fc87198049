//! Places one WebSocket: finds its route, selects an engine, reserves capacity, lets the driver prepare the
//! session, and tries the next engine if one fails, all within one deadline. Knows no HTTP and no engine
//! protocol. Dropping the future of a placement releases everything that it acquired.

mod admission_queue;
mod affinity;
pub mod affinity_directory;
mod attempts;
mod completion;
pub mod decision_log;
mod engine_sessions;
pub mod explain;
mod handover;
mod key_table;
pub mod key_views;
mod keyed;
pub mod keys;
mod metrics;
mod pool;
mod prepared_session;
mod recent;
pub mod routes;
mod selection;
mod session_ends;
mod startup;
mod steps;
mod tab_store;
mod upkeep;

use crate::config::{self, Config};
use crate::core::clock::Clock;
use crate::core::rejection::Rejection;
use crate::engines::drains::ActiveDrains;
use crate::engines::fleet::{FleetReader, FleetTask};
use crate::engines::ledger::{Ledger, LedgerTask};
use crate::placement::routes::{RouteTarget, Routes};
use crate::sessions::LiveSession;
use affinity::SessionAffinity;
use berth_api::{KeyAffinity, RejectReason};
use berth_scheduler::accounting::AccountingRegistry;
use decision_log::Candidate;
use engine_sessions::EngineSessions;
use key_table::KeyTable;
use keys::KeyDirectory;
use metrics::PlacementMetrics;
use parking_lot::RwLock;
use pool::Pool;
use rand::RngExt;
use recent::RecentPlacements;
use selection::DecisionTrace;
use session_ends::SessionEnds;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::info;
use upkeep::KeyUpkeep;

pub use handover::Handover;
pub use recent::RecentPlacement;
pub use session_ends::IssueToken;

/// Reason of a placement: the tab returned to its engine session.
pub const RESUMED: &str = "resumed";
/// Reason of a placement: the socket joined the engine session that the login session's sockets share for this
/// document.
pub const SHARED: &str = "shared";
/// Reason of a placement: the previous engine session is gone; this is a new one.
pub const REPLACED: &str = "replaced";

/// Reason of a placement: the key of the request had the engine before.
pub const KEPT: &str = "affinity";

/// A request to place: one WebSocket, or a plain request of a route that allows them.
pub struct PlaceRequest<'a> {
    /// The login session that opens it.
    pub session: &'a Arc<LiveSession>,
    /// The JWT for the engine. A secret.
    pub token: &'a str,
    /// The authority, as the client sent it; empty: routes with a host do not match.
    pub host: &'a str,
    /// The path with its query, as the client sent it.
    pub path: &'a str,
    /// Whether it is the upgrade to a WebSocket.
    pub upgrade: bool,
    /// The client's name of its tab.
    pub tab: Option<&'a str>,
}

/// A placement: the engine of a stream and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The Envoy cluster.
    pub cluster: String,
    /// `ip:port`; `None` if the engine has a cluster of its own.
    pub destination: Option<String>,
    /// The path of the request to the engine.
    pub path: String,
    /// Headers to set on the request to the engine; names in lower case.
    pub set_headers: BTreeMap<String, String>,
    /// The id of the stream in the reports of gateways; empty for a plain request.
    pub stream: String,
    /// The pool's name.
    pub pool: String,
    /// The engine's name.
    pub engine: String,
    /// Why this engine: a constant for the access log.
    pub reason: &'static str,
    /// Where further requests of the same key go; `None`: the request has no key that stays on one engine.
    pub affinity: Option<KeyAffinity>,
}

/// Places WebSockets on engines.
pub struct PlacementService {
    /// Replaced as a whole when the configuration is reloaded.
    routes: RwLock<Arc<Routes>>,
    pools: Arc<[Pool]>,
    affinity: SessionAffinity,
    /// `None`: the store keeps no keys.
    keys: Option<Arc<KeyDirectory>>,
    key_table: Arc<KeyTable>,
    active_drains: ActiveDrains,
    engine_sessions: EngineSessions,
    session_ends: SessionEnds,
    limits: config::Placement,
    connecting: Semaphore,
    /// `Retry-After` in seconds when no engine is available: by then engines have been probed again.
    retry_after_s: u32,
    fleet: FleetReader,
    accounting: AccountingRegistry,
    /// `None`: there is only one replica.
    ledger: Option<Ledger>,
    recent: RecentPlacements,
    metrics: PlacementMetrics,
    clock: Arc<dyn Clock>,
    ready: AtomicBool,
    /// Background tasks; they end when this is dropped.
    _tasks: (Option<FleetTask>, Option<LedgerTask>, Option<KeyUpkeep>),
}

impl PlacementService {
    /// The current state of the fleet.
    #[must_use]
    pub const fn fleet(&self) -> &FleetReader {
        &self.fleet
    }

    /// The accounting of all engines.
    #[must_use]
    pub const fn accounting(&self) -> &AccountingRegistry {
        &self.accounting
    }

    /// The drains of engines, which end the stay of keys there.
    #[must_use]
    pub const fn active_drains(&self) -> &ActiveDrains {
        &self.active_drains
    }

    /// The routes in force.
    fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read())
    }

    /// Places the next requests by other routes to the same pools.
    pub fn set_routes(&self, config: &Config) {
        *self.routes.write() = Arc::new(Routes::new(&config.routes, &config.pools));
    }

    /// Releases a placement whose requester no longer waits for the response.
    pub fn release_placement(&self, placed: &Placement) {
        if placed.stream.is_empty() {
            return;
        }
        self.accounting
            .release_placement(&placed.stream, Instant::now());
        self.stream_closed(&placed.stream, false);
    }

    /// Whether placements make sense: every engine known at the start has been probed once, and the replicas'
    /// ledger has been complete once. Stays `true` from then on, also when engines are added.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let is_synced = || self.ledger.as_ref().is_none_or(Ledger::has_synced_once);
        if !self.ready.load(Ordering::Relaxed)
            && is_synced()
            && self.fleet.snapshot().is_initialized()
        {
            self.ready.store(true, Ordering::Relaxed);
        }
        self.ready.load(Ordering::Relaxed)
    }

    /// The recent placements of a session, newest first.
    #[must_use]
    pub fn recent_placements(&self, session_ref: &str) -> Vec<RecentPlacement> {
        self.recent.latest(session_ref)
    }

    /// Returns the session to its previous engine session, or selects an engine and prepares a new one there.
    ///
    /// # Errors
    /// Why the WebSocket cannot be placed.
    pub async fn place(&self, request: PlaceRequest<'_>) -> Result<Placement, Rejection> {
        self.place_traced(&request, &mut DecisionTrace::default())
            .await
    }

    /// Places, and returns the scheduler's evaluation of each engine; empty if the session returned to its
    /// engine session.
    ///
    /// # Errors
    /// As [`Self::place`].
    pub async fn place_explained(
        &self,
        request: PlaceRequest<'_>,
    ) -> Result<(Placement, Vec<Candidate>), Rejection> {
        let mut trace = DecisionTrace {
            explain: true,
            ..DecisionTrace::default()
        };
        let placed = self.place_traced(&request, &mut trace).await?;
        let explanation = trace.explanation.as_ref();
        Ok((
            placed,
            explanation.map_or_else(Vec::new, explain::candidates),
        ))
    }

    async fn place_traced(
        &self,
        request: &PlaceRequest<'_>,
        trace: &mut DecisionTrace,
    ) -> Result<Placement, Rejection> {
        check_path(request.path)?;
        // One table for the whole placement, also if a reload replaces it meanwhile.
        let routes = self.routes();
        let roles = &request.session.roles;
        let (target, details) = routes.resolve(request.host, request.path, roles)?;
        let pool = self.pool_of(&target)?;
        let result = self.place_on_route(request, &details, (&target, pool), trace);
        let result = result.await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(rejection) => rejection.reason.as_str(),
        };
        if let Err(rejection) = &result {
            let session = &request.session.session_ref;
            info!(pool = %pool.name, reason = outcome, session, "not placed: {rejection}");
        }
        self.metrics.record_placement(&pool.name, outcome);
        result
    }

    fn pool_of(&self, target: &RouteTarget) -> Result<&Pool, Rejection> {
        let pool = self.pools.get(target.pool);
        pool.ok_or_else(|| RejectReason::Internal.into())
    }
}

/// A random, unique stream id.
fn stream_name() -> String {
    format!("{:016x}", rand::rng().random::<u64>())
}

fn check_path(path: &str) -> Result<(), Rejection> {
    if is_path(path) {
        return Ok(());
    }
    Err(Rejection::new(RejectReason::InvalidRequest).with_detail("path"))
}

/// Whether the text is an origin-form path (RFC 9112 section 3.2.1) without characters that would break a
/// request line.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|b| b > b' ' && b != 0x7f)
}
