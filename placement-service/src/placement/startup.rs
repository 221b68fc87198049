//! Builds the placement service: its pools, its background tasks and its metrics. Places nothing.

use super::PlacementService;
use super::affinity::SessionAffinity;
use super::engine_sessions::EngineSessions;
use super::key_table::KeyTable;
use super::keys::KeyDirectory;
use super::metrics::{PlacementMetrics, PoolCapacityCollector};
use super::pool::Pool;
use super::recent::RecentPlacements;
use super::routes::Routes;
use super::session_ends::{IssueToken, SessionEnds};
use super::upkeep::KeyUpkeep;
use crate::config::{self, Config};
use crate::core::clock::Clock;
use crate::engines::drains::ActiveDrains;
use crate::engines::drivers;
use crate::engines::drivers::transport::EngineTransport;
use crate::engines::fleet::metrics::{FleetCollector, ProbeMetrics};
use crate::engines::fleet::{self, FleetReader, FleetTask};
use crate::engines::ledger::Ledger;
use berth_scheduler::accounting::AccountingRegistry;
use berth_scheduler::capacity_ledger::CapacityLedger;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Maximum number of attempts that wait for an engine's first response at the same time. More would compete for
/// this process's CPU, and an engine must not be blamed for that delay.
const MAX_CONNECTING: usize = 256;

impl PlacementService {
    /// Starts to discover and probe the engines of the configuration in the background, and places on them.
    /// Registers the metrics of the fleet and of placement. `ledger`: the ledger that replicas share, if there
    /// are several. `keys`: the engines of keys, if the store keeps any. `issue_token`: issues the tokens by which engine
    /// sessions are ended.
    ///
    /// # Errors
    /// When the HTTP client of the probes cannot be built.
    pub fn start(
        config: &Config,
        transports: &[EngineTransport],
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
        ledger: Option<Ledger>,
        keys: Option<KeyDirectory>,
        issue_token: IssueToken,
    ) -> Result<Arc<Self>, reqwest::Error> {
        let probe_metrics = ProbeMetrics::register(registry);
        let shared_probes = ledger.as_ref().map(|ledger| ledger.probes().clone());
        let capacity = ledger.clone();
        let capacity = capacity.map(|ledger| Arc::new(ledger) as Arc<dyn CapacityLedger>);
        let lifetime = |pool: &config::Pool| (pool.name.clone(), drivers::session_lifetime(pool));
        let lifetimes = config.pools.iter().map(lifetime).collect();
        let reservation_ttl = config.placement.reservation_ttl;
        let accounting = AccountingRegistry::with_ledger(reservation_ttl, lifetimes, capacity);
        let (fleet, task) = fleet::start(
            &config.pools,
            transports,
            &config.probe,
            accounting.clone(),
            probe_metrics,
            shared_probes,
            config.compat.mira.listen.is_some(),
        )?;
        let fleet = (fleet, accounting, Some(task));
        Ok(Self::build(
            config,
            transports,
            clock,
            registry,
            fleet,
            (ledger, keys),
            issue_token,
        ))
    }

    /// Places on an existing fleet, whose engines have no TLS. The registry is the accounting of its engines; the task, if any, keeps the
    /// fleet up to date.
    pub fn with_fleet(
        config: &Config,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
        fleet: (FleetReader, AccountingRegistry, Option<FleetTask>),
        issue_token: IssueToken,
    ) -> Arc<Self> {
        let transports = vec![EngineTransport::default(); config.pools.len()];
        Self::build(
            config,
            &transports,
            clock,
            registry,
            fleet,
            (None, None),
            issue_token,
        )
    }

    fn build(
        config: &Config,
        transports: &[EngineTransport],
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
        (fleet, accounting, task): (FleetReader, AccountingRegistry, Option<FleetTask>),
        (ledger, keys): (Option<Ledger>, Option<KeyDirectory>),
        issue_token: IssueToken,
    ) -> Arc<Self> {
        let pools = config.pools.iter().zip(transports);
        let pools = pools.map(|(pool, transport)| {
            Pool::new(pool, transport, &config.placement, accounting.streams())
        });
        let pools: Arc<[Pool]> = pools.collect();
        // Starts after the pools have registered their stream counts: it exchanges these with the other
        // replicas.
        let ledger_task = ledger
            .as_ref()
            .map(|ledger| ledger.start_sync(accounting.clone()));
        registry.register_collector(Box::new(FleetCollector(fleet.clone())));
        let key_table = Arc::new(KeyTable::default());
        let (collected, table) = (Arc::clone(&pools), Arc::clone(&key_table));
        let capacity_collector = PoolCapacityCollector::new(collected, fleet.clone(), table);
        registry.register_collector(Box::new(capacity_collector));
        let keys = keys.map(Arc::new);
        let upkeep = keys.as_ref().map(|keys| KeyUpkeep::start(keys, &key_table));
        Arc::new(Self {
            keys,
            key_table,
            active_drains: ActiveDrains::default(),
            routes: Routes::new(&config.routes, &config.pools),
            pools,
            affinity: SessionAffinity::new(config.session.absolute_timeout),
            engine_sessions: EngineSessions::new(config.session.absolute_timeout),
            session_ends: SessionEnds::new(issue_token),
            limits: config.placement.clone(),
            connecting: Semaphore::new(MAX_CONNECTING),
            retry_after_s: whole_seconds(config.probe.interval),
            fleet,
            accounting,
            ledger,
            recent: RecentPlacements::default(),
            metrics: PlacementMetrics::register(registry),
            clock,
            ready: AtomicBool::new(false),
            _tasks: (task, ledger_task, upkeep),
        })
    }
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000))
        .unwrap_or(u32::MAX)
        .max(1)
}
