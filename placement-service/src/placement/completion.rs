//! The end of a placement: the reservation becomes a session with a stream, and is recorded. Decides nothing.

use super::affinity::{AffinityKey, AffinityLock};
use super::attempts::PreparedEngine;
use super::prepared_session::{PreparedSession, Presence};
use super::selection::PlacementTask;
use super::{Placement, PlacementService, RecentPlacement, stream_name};
use berth_scheduler::accounting::{EngineSession, StreamSlot};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::debug;

impl PlacementService {
    /// Records the stream. Returns its placement, and its session in the accounting of the engine.
    pub(super) fn complete_placement(
        &self,
        task: PlacementTask<'_>,
        prepared_engine: PreparedEngine,
        session_slot: StreamSlot,
        reason: &'static str,
        affinity: Option<(AffinityKey, &AffinityLock)>,
    ) -> (Placement, EngineSession) {
        let PlacementTask {
            pool,
            target,
            request,
            ..
        } = task;
        let PreparedEngine {
            engine,
            prepared,
            reservation,
        } = prepared_engine;
        let mut reservation = reservation.unwrap_or_else(|| {
            let turn = engine.accounting.snapshot(Instant::now()).turn;
            engine.accounting.reserve(turn)
        });
        reservation.attach_slot(session_slot);
        let name = engine.name.as_str();
        let (cluster, destination) = pool.address(&engine);
        let stream = reservation
            .stream_name()
            .map_or_else(stream_name, str::to_owned);
        let now = Instant::now();
        let session = self.accounting.placed(reservation, &stream, now);
        if pool.driver.keeps_sessions() {
            let prepared_session = PreparedSession {
                pool: target.pool,
                engine: name.to_owned(),
                address: engine.endpoint.api,
                headers: prepared.set_headers.clone(),
                login: Arc::clone(request.session),
                presence: Presence::Counted(session.clone()),
                affinity: affinity.map(|(key, lock)| (key, Arc::clone(lock))),
            };
            self.engine_sessions
                .record([stream.as_str()], prepared_session, now);
        }
        let document = target.open_target.document().map(str::to_owned);
        debug!(pool = %pool.name, engine = name, session = request.session.session_ref, stream, reason, "placed");
        let recent = RecentPlacement {
            tab: request.tab.map(str::to_owned),
            document,
            engine: name.to_owned(),
            pool: pool.name.to_string(),
            since: self.clock.now_s(),
            stream: stream.clone(),
        };
        self.recent.record(&request.session.session_ref, recent);
        self.metrics.record_reason(&pool.name, reason);
        let placement = Placement {
            cluster,
            destination,
            path: prepared.path,
            set_headers: prepared.set_headers,
            stream,
            pool: pool.name.to_string(),
            engine: name.to_owned(),
            reason,
            affinity: None,
        };
        (placement, session)
    }
}
