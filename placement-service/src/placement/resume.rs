//! Returns a session to its previous engine session: on the same engine, at the same address, while the engine
//! still has it. A session leaves a live engine session only if the engine is gone, unhealthy or draining,
//! never because another engine has more capacity.

use super::affinity::AffinityEntry;
use super::attempts::{PlacementTask, PreparedEngine};
use super::pool;
use super::{PlacementService, stream_name};
use crate::engines::drivers::DriverFault;
use berth_scheduler::engine::{Engine, State};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

impl PlacementService {
    /// The engine of an affinity entry, if a session may return there.
    pub(super) fn attached_engine(
        &self,
        pool: usize,
        entry: &AffinityEntry,
    ) -> Option<Arc<Engine>> {
        let fleet = self.fleet.snapshot();
        let engines = &fleet.pools().get(pool)?.engines;
        let position = engines.binary_search_by(|e| e.name.cmp(&entry.engine));
        let engine = engines.get(position.ok()?)?;
        let same_address = engine.endpoint.api == entry.address;
        let is_up = engine.state != State::Unhealthy;
        let is_staying = !engine.accounting.snapshot(Instant::now()).draining;
        (same_address && is_up && is_staying).then(|| Arc::clone(engine))
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
        // Does not count as a selection for the strategy's rotation: reuses the turn of the engine.
        let turn = engine.accounting.snapshot(started_at).turn;
        let mut reservation = engine.accounting.reserve(turn);
        // The engine session exists already: it needs no further capacity.
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
        Some(PreparedEngine {
            prepared: result.ok()??,
            engine,
            reservation,
        })
    }
}
