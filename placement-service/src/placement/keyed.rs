//! Placement of requests with a key: finds the engine of the key, or lets one be chosen and prepared, and tells gateways
//! where further requests of the key go. The engine of a key changes only when it is gone: removed, drained, or unhealthy
//! for longer than the route allows.

use super::affinity_directory::{EngineSource, TargetState};
use super::attempts::PreparedEngine;
use super::key_table::CountedKey;
use super::keys::{self, RequestKey, engine_failed};
use super::selection::{DecisionTrace, PlacementTask};
use super::{Placement, PlacementService, stream_name};
use crate::core::clock::millis;
use crate::core::rejection::Rejection;
use crate::engines::drains::Drain;
use crate::engines::drivers::DriverFault;
use berth_api::{KeyAffinity, RejectReason, drain_delay_ms};
use berth_scheduler::accounting::Reservation;
use berth_scheduler::engine::{Engine, EngineName, State};
use berth_store::{AffinityId, AffinityTarget};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// `Retry-After` in seconds for a key with too many streams: by then gateways have reported those that have closed.
const KEY_FULL_RETRY_S: u32 = 5;

/// The engine of a key.
pub(super) struct KeyedEngine {
    pub(super) id: AffinityId,
    /// The maximum of streams of the key.
    pub(super) max_streams: Option<u32>,
    pub(super) engine: Arc<Engine>,
    /// The session that was prepared there for this request, until it is used; `None`: the key had the engine before.
    pub(super) prepared: Option<PreparedEngine>,
    pub(super) affinity: KeyAffinity,
}

/// Chooses and prepares the engine of a key for one request.
struct KeySource<'a> {
    service: &'a PlacementService,
    task: PlacementTask<'a>,
    key: &'a RequestKey<'a>,
    trace: Mutex<DecisionTrace>,
    prepared: Mutex<Option<PreparedEngine>>,
}

#[async_trait::async_trait]
impl EngineSource for KeySource<'_> {
    type Error = Rejection;

    fn state(&self, target: &AffinityTarget) -> TargetState {
        self.service.target_state(self.task, self.key, target)
    }

    async fn prepare(&self) -> Result<AffinityTarget, Rejection> {
        let mut trace = DecisionTrace {
            explain: self.trace.lock().explain,
            ..DecisionTrace::default()
        };
        let result = self.service.attempt_engines(self.task, &mut trace).await;
        *self.trace.lock() = trace;
        let prepared = result?;
        let target = AffinityTarget {
            engine: prepared.engine.name.to_string(),
            api: prepared.engine.endpoint.api,
            stream: None,
            incarnation: prepared.engine.incarnation.as_deref().map(str::to_owned),
            headers: BTreeMap::new(),
        };
        *self.prepared.lock() = Some(prepared);
        Ok(target)
    }

    async fn discard(&self, _: AffinityTarget) {
        self.prepared.lock().take();
    }
}

impl PlacementService {
    /// The engine of the request's key.
    pub(super) async fn resolve_key(
        &self,
        task: PlacementTask<'_>,
        key: &RequestKey<'_>,
        trace: &mut DecisionTrace,
    ) -> Result<KeyedEngine, Rejection> {
        let directory = self.keys.as_ref().ok_or(RejectReason::Internal)?;
        let as_of = self.clock.now_ms();
        let source = KeySource {
            service: self,
            task,
            key,
            trace: Mutex::new(DecisionTrace {
                explain: trace.explain,
                ..DecisionTrace::default()
            }),
            prepared: Mutex::default(),
        };
        let request = key.request(&task.pool.name);
        let resolving = directory
            .directory
            .resolve(&request, &source, task.deadline);
        let resolved = resolving.await;
        let explanation = source.trace.into_inner().explanation;
        trace.explanation = explanation.or(trace.explanation.take());
        let resolution = resolved.map_err(keys::rejection)?;
        if task.request.upgrade {
            directory.directory.record_activity(key.id, Instant::now());
        }
        let held = &resolution.held;
        let name = EngineName::from(held.target.engine.as_str());
        let engine = self.find_engine(task.target.pool, &name);
        let engine = engine.ok_or_else(|| engine_failed("the engine of the key is gone"))?;
        let mut prepared = source.prepared.into_inner().filter(|_| resolution.is_new);
        let reservation = prepared.as_mut().and_then(|one| one.reservation.take());
        let counted = CountedKey {
            name: &key.name,
            epoch: held.epoch,
            counts: key.settings.effective_counts(),
            idle: key.settings.idle,
        };
        self.key_table
            .hold(key.id, &counted, &engine, reservation, Instant::now());
        let drain = self.active_drains.get(&task.pool.name, name.as_str());
        let left_ms = drain.map(|drain| stays_until_ms(key, drain).saturating_sub(as_of));
        let valid_ms = millis(directory.valid).min(left_ms.unwrap_or(u64::MAX));
        Ok(KeyedEngine {
            id: key.id,
            max_streams: key.settings.streams,
            engine,
            prepared,
            affinity: KeyAffinity {
                key: key.name.clone(),
                epoch: held.epoch,
                scope: key.scope.clone(),
                rewrite: key.rewrite.map(str::to_owned),
                set_headers: BTreeMap::new(),
                valid_ms,
                as_of,
            },
        })
    }

    /// Whether the engine of a key still serves it.
    fn target_state(
        &self,
        task: PlacementTask<'_>,
        key: &RequestKey<'_>,
        target: &AffinityTarget,
    ) -> TargetState {
        let name = EngineName::from(target.engine.as_str());
        let Some(engine) = self.find_engine(task.target.pool, &name) else {
            let fleet = self.fleet.snapshot();
            let pool = fleet.pools().get(task.target.pool);
            // Unless a source fails, an engine that none lists is gone.
            return match pool {
                Some(pool) if pool.current => TargetState::Lost,
                _ => TargetState::Unavailable,
            };
        };
        if engine.endpoint.api != target.api || !engine.may_be(target.incarnation.as_deref()) {
            return TargetState::Lost;
        }
        if let Some(drain) = self.active_drains.get(&task.pool.name, name.as_str())
            && stays_until_ms(key, drain) <= self.clock.now_ms()
        {
            return TargetState::Lost;
        }
        match engine.unhealthy_since {
            Some(since) if since.elapsed() >= key.settings.replace_after => TargetState::Lost,
            Some(_) if engine.state == State::Unhealthy => TargetState::Unavailable,
            _ => TargetState::Usable,
        }
    }

    /// Counts one more stream of a key, if the route allows it.
    pub(super) async fn join_key(
        &self,
        task: PlacementTask<'_>,
        keyed: &KeyedEngine,
    ) -> Result<Reservation, Rejection> {
        let now = Instant::now();
        let joined = self.key_table.join(&keyed.id, keyed.max_streams, now);
        let joined = joined.map_err(|limit| {
            let detail = format!("the key has {limit} WebSockets, open or being opened");
            let rejection = Rejection::new(RejectReason::KeyFull).with_detail(detail);
            rejection.with_retry_after(KEY_FULL_RETRY_S)
        })?;
        let mut reservation = joined.unwrap_or_else(|| {
            // The table is full: the stream counts by itself.
            let turn = keyed.engine.accounting.snapshot(now).turn;
            keyed.engine.accounting.reserve(turn)
        });
        let confirmed = reservation.confirm(stream_name, (None, None));
        // A key needs no room, so the reply does not matter.
        let _ = timeout_at(task.deadline, confirmed).await;
        Ok(reservation)
    }

    /// Prepares a session on the engine of a key, which needs no room there.
    pub(super) async fn join_engine(
        &self,
        task: PlacementTask<'_>,
        engine: Arc<Engine>,
    ) -> Result<PreparedEngine, Rejection> {
        let connecting = timeout_at(task.deadline, self.connecting.acquire()).await;
        let Ok(Ok(connecting)) = connecting else {
            return Err(engine_failed("the engine of the key is busy"));
        };
        let started_at = Instant::now();
        let result = self.prepare_on(task, &engine, connecting, started_at).await;
        match result {
            Ok(prepared) => Ok(PreparedEngine {
                engine,
                prepared,
                reservation: None,
            }),
            Err(DriverFault::NoSuchDocument) => Err(RejectReason::NoSuchDocument.into()),
            Err(fault) => {
                let detail = format!("the engine of the key failed with: {}", fault.as_str());
                Err(engine_failed(&detail))
            }
        }
    }

    /// The engines that keys stay on: those that probes reach and that are not drained, by pool and name.
    #[must_use]
    pub fn engines_of_keys(&self) -> BTreeSet<(Arc<str>, EngineName)> {
        let fleet = self.fleet.snapshot();
        let routes = self.routes();
        let pools = fleet.pools().iter().enumerate();
        let pools = pools.filter(|(index, _)| routes.sticky_settings(*index).is_some());
        let engines = pools.flat_map(|(_, pool)| pool.engines.iter().map(move |e| (pool, e)));
        let staying = engines.filter(|(pool, engine)| {
            let drain = self.active_drains.get(&pool.name, engine.name.as_str());
            engine.unhealthy_since.is_none() && drain.is_none()
        });
        staying
            .map(|(pool, engine)| (Arc::clone(&pool.name), engine.name.clone()))
            .collect()
    }

    /// The answer to a plain request: it goes to the engine of its key, and is no stream.
    pub(super) fn plain_placement(&self, task: PlacementTask<'_>, keyed: KeyedEngine) -> Placement {
        let is_new = keyed.prepared.is_some();
        let (cluster, destination) = task.pool.address(&keyed.engine);
        let reason = task.pool.key_reason(is_new);
        self.metrics.record_reason(&task.pool.name, reason);
        Placement {
            cluster,
            destination,
            path: task.path.to_owned(),
            set_headers: BTreeMap::new(),
            stream: String::new(),
            pool: task.pool.name.to_string(),
            engine: keyed.engine.name.to_string(),
            reason,
            affinity: Some(keyed.affinity),
        }
    }
}

/// Until when a key stays on an engine that is drained, in Unix milliseconds: until then its streams are open.
fn stays_until_ms(key: &RequestKey<'_>, drain: Drain) -> u64 {
    let delay_ms = drain_delay_ms(&key.name, drain.over_ms);
    drain.since_ms.saturating_add(delay_ms)
}
