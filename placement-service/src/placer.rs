//! The use case of the service: finds an engine for one WebSocket. Route, choice, reservation, the
//! driver's preparation, the next engine when one fails, all within one deadline. Knows no HTTP and no
//! engine protocol. Dropping the future of a placement gives everything back.

mod metrics;
mod pool;
mod recent;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::driver::{Fault, Job, Prepared};
use crate::engine::Engine;
use crate::fleet::metrics::{FleetCollector, ProbeMetrics};
use crate::fleet::{self, FleetReader, FleetTask};
use crate::placement::eligibility::Exclusions;
use crate::placement::{Ask, Choice};
use crate::refusal::Refusal;
use crate::reservation::Tallies;
use crate::sessions::LiveSession;
use crate::target::{Routes, Target};
use berth_api::Reason;
use metrics::PlacerMetrics;
use pool::Pool;
use prometheus_client::registry::Registry;
use rand::RngExt;
use recent::Recent;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

pub use recent::RecentPlacement;

/// Engines that may be owed their first word at a time. More would only wait for our own processor, and
/// an engine must not be blamed for that.
const CONNECTING: usize = 256;

/// One WebSocket that wants an engine.
pub struct PlaceRequest<'a> {
    /// Whose it is.
    pub session: &'a LiveSession,
    /// The JWT for the engine. A secret.
    pub token: &'a str,
    /// The path with its query, as the client sent it.
    pub path: &'a str,
    /// The client's name for its tab.
    pub tab: Option<&'a str>,
}

/// Where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The Envoy cluster.
    pub cluster: String,
    /// `ip:port`, unless the cluster is the engine's own.
    pub destination: Option<String>,
    /// The path that the engine gets.
    pub path: String,
    /// Request headers for the engine, lower-case names.
    pub set_headers: BTreeMap<String, String>,
    /// Names the stream in later reports.
    pub stream: String,
    /// The pool's name.
    pub pool: String,
    /// The engine's name.
    pub engine: String,
    /// Why this engine: a constant for the access log.
    pub reason: &'static str,
}

/// Places WebSockets on engines.
pub struct Placer {
    routes: Routes,
    pools: Vec<Pool>,
    limits: config::Placement,
    connecting: Semaphore,
    /// Seconds after which a full or empty fleet may look different.
    retry_after_s: u32,
    fleet: FleetReader,
    tallies: Tallies,
    recent: Recent,
    metrics: PlacerMetrics,
    clock: Arc<dyn Clock>,
    /// Ends with the placer.
    _fleet_task: FleetTask,
}

impl Placer {
    /// Starts watching the engines of the configuration, in the background, and places on them.
    /// Registers the metrics of the whole fleet side.
    ///
    /// # Errors
    /// When the HTTP client of the probes cannot be built.
    pub fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Result<Arc<Self>, reqwest::Error> {
        let probe_metrics = ProbeMetrics::register(registry);
        let tallies = Tallies::new(config.placement.reservation_ttl);
        let (fleet, task) =
            fleet::start(&config.pools, &config.probe, tallies.clone(), probe_metrics)?;
        registry.register_collector(Box::new(FleetCollector(fleet.clone())));
        Ok(Arc::new(Self {
            routes: Routes::new(&config.routes, &config.pools),
            pools: config.pools.iter().map(Pool::new).collect(),
            limits: config.placement.clone(),
            connecting: Semaphore::new(CONNECTING),
            retry_after_s: whole_seconds(config.probe.interval),
            fleet,
            tallies,
            recent: Recent::default(),
            metrics: PlacerMetrics::register(registry),
            clock,
            _fleet_task: task,
        }))
    }

    /// The fleet as it is known.
    #[must_use]
    pub const fn fleet(&self) -> &FleetReader {
        &self.fleet
    }

    /// The books of all engines.
    #[must_use]
    pub const fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// Gives a placement back whose answer nobody gets.
    pub fn take_back(&self, placed: &Placed) {
        self.tallies.refused(&placed.stream, Instant::now());
    }

    /// Whether every engine has been probed once: placements make sense.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.fleet.now().is_known()
    }

    /// The latest placements of a session, latest first.
    #[must_use]
    pub fn recent(&self, session_ref: &str) -> Vec<RecentPlacement> {
        self.recent.of(session_ref)
    }

    /// Finds an engine and prepares the session there.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn place(&self, request: PlaceRequest<'_>) -> Result<Placed, Refusal> {
        if !is_path(request.path) {
            return Err(Refusal::new(Reason::InvalidRequest).with_detail("path"));
        }
        let target = self.routes.find(request.path)?;
        let Some(pool) = self.pools.get(target.pool) else {
            return Err(Reason::Internal.into());
        };
        let result = self.place_in(pool, &target, &request).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(refusal) => refusal.reason.as_str(),
        };
        if let Err(refusal) = &result {
            let session = &request.session.session_ref;
            info!(pool = %pool.name, reason = outcome, session, "not placed: {refusal}");
        }
        self.metrics.placed(&pool.name, outcome);
        result
    }

    async fn place_in(
        &self,
        pool: &Pool,
        target: &Target,
        request: &PlaceRequest<'_>,
    ) -> Result<Placed, Refusal> {
        let deadline = Instant::now() + self.limits.deadline;
        let mut tried = Vec::new();
        let mut last_fault = None;
        for _ in 0..self.limits.attempts.max(1) {
            let Ok(Ok(connecting)) = timeout_at(deadline, self.connecting.acquire()).await else {
                break;
            };
            let began = Instant::now();
            // Anew for each attempt: the fleet may have changed meanwhile.
            let fleet = self.fleet.now();
            let Some(now) = fleet.pools().get(target.pool) else {
                return Err(Reason::Internal.into());
            };
            let ask = Ask {
                document: target.opening.document(),
                tried: &tried,
                now: began,
            };
            let choice = match pool.chooser.choose(&now.engines, &ask) {
                Ok(choice) => choice,
                Err(_) if last_fault.is_some() => break,
                Err(why) => return Err(self.no_choice(&why)),
            };
            let Choice {
                engine,
                reservation,
                trial,
                rehearsal,
                ..
            } = choice;
            if let Some(rehearsal) = rehearsal {
                pool.rehearse(rehearsal, request.token, self.limits.engine_timeout);
            }
            let job = Job {
                engine: engine.endpoint.api,
                token: request.token,
                path: request.path,
                opening: &target.opening,
                first_word: deadline.min(began + self.limits.engine_timeout),
                deadline,
                connecting: Some(connecting),
                rehearsal: false,
            };
            let result = pool.driver.prepare(job).await;
            let now = Instant::now();
            let outcome = result.as_ref().map_or_else(Fault::as_str, |_| "ok");
            self.metrics.attempted(&pool.name, outcome, now - began);
            pool::judge(&pool.name, &engine, result.as_ref().err(), began, now);
            drop(trial);
            match result {
                Ok(prepared) => {
                    let placed = self.placed(pool, target, request, &engine, prepared);
                    self.tallies.placed(reservation, &placed.stream, now);
                    return Ok(placed);
                }
                Err(Fault::NoSuchDocument) => return Err(Reason::NoSuchDocument.into()),
                Err(fault) => {
                    tried.push(engine.name.clone());
                    last_fault = Some(fault);
                }
            }
        }
        let why = last_fault.as_ref().map_or("deadline", Fault::as_str);
        Err(Refusal::new(Reason::EngineFailed)
            .with_detail(format!("{} tried, the last one: {why}", tried.len()))
            .retry_after(1))
    }

    fn placed(
        &self,
        pool: &Pool,
        target: &Target,
        request: &PlaceRequest<'_>,
        engine: &Engine,
        prepared: Prepared,
    ) -> Placed {
        let name = engine.name.as_str();
        let (cluster, destination) = pool.address(engine);
        let stream = format!("{:016x}", rand::rng().random::<u64>());
        let document = target.opening.document().map(str::to_owned);
        debug!(pool = %pool.name, engine = name, session = request.session.session_ref, stream, "placed");
        let recent = RecentPlacement {
            tab: request.tab.map(str::to_owned),
            document,
            engine: name.to_owned(),
            pool: pool.name.to_string(),
            since: self.clock.now_s(),
            stream: stream.clone(),
        };
        self.recent.note(&request.session.session_ref, recent);
        Placed {
            cluster,
            destination,
            path: prepared.path,
            set_headers: prepared.set_headers,
            stream,
            pool: pool.name.to_string(),
            engine: name.to_owned(),
            reason: pool.chooser.strategy().as_str(),
        }
    }

    fn no_choice(&self, why: &Exclusions) -> Refusal {
        let reason = if why.for_want_of_room() {
            Reason::EnginesFull
        } else {
            Reason::NoEngine
        };
        Refusal::new(reason)
            .with_detail(why.to_string())
            .retry_after(self.retry_after_s)
    }
}

/// An origin-form path (RFC 9112, section 3.2.1) that can stand in a request line.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|b| b > b' ' && b != 0x7f)
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000))
        .unwrap_or(u32::MAX)
        .max(1)
}
