//! Brings a session back to the engine session that it had: the same engine, at the same address, which
//! still has it. A live engine session is not left for another engine because that one has more room; only
//! because its own is gone, down or drained.

use super::attachments::Attachment;
use super::finding::{Found, Task};
use super::pool;
use super::{Placer, stream_name};
use crate::engines::drivers::Fault;
use berth_scheduler::engine::{Engine, State};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

impl Placer {
    /// The engine of an attachment, if a session may go back there.
    pub(super) fn engine_of(&self, pool: usize, attachment: &Attachment) -> Option<Arc<Engine>> {
        let fleet = self.fleet.now();
        let engines = &fleet.pools().get(pool)?.engines;
        let at = engines.binary_search_by(|e| e.name.cmp(&attachment.engine));
        let engine = engines.get(at.ok()?)?;
        let same = engine.endpoint.api == attachment.address;
        let up = engine.state != State::Unhealthy;
        let stays = !engine.tally.standing(Instant::now()).draining;
        (same && up && stays).then(|| Arc::clone(engine))
    }

    /// Goes back to where the attachment says; `None` when that is not possible any more.
    pub(super) async fn rejoin(&self, task: Task<'_>, attachment: &Attachment) -> Option<Found> {
        let Task { pool, request, .. } = task;
        let engine = self.engine_of(task.target.pool, attachment)?;
        let connecting = timeout_at(task.deadline, self.connecting.acquire()).await;
        let connecting = connecting.ok()?.ok()?;
        let began = Instant::now();
        // Not a turn of the strategy's.
        let turn = engine.tally.standing(began).turn;
        let mut reservation = engine.tally.reserve(turn);
        // Its engine session is there already: it needs no room.
        reservation.confirm(stream_name, (None, None)).await;
        let job = task.job(&engine, began + self.limits.engine_timeout, connecting);
        let result = pool.driver.rejoin(job, &attachment.headers).await;
        let now = Instant::now();
        let outcome = match &result {
            Ok(Some(_)) => "rejoined",
            Ok(None) => "session-gone",
            Err(fault) => Fault::as_str(fault),
        };
        self.metrics.attempted(&pool.name, outcome, now - began);
        pool::judge(&pool.name, &engine, result.as_ref().err(), began, now);
        let session = &request.session.session_ref;
        debug!(pool = %pool.name, engine = %engine.name, session, outcome, "back to an engine session");
        Some(Found {
            prepared: result.ok()??,
            engine,
            reservation,
        })
    }
}
