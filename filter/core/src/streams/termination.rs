//! Which streams must end, when, and what is left to do for closing ones. Every close that the gateway starts goes
//! through here.

use super::{
    ClosePriority, Deadlines, DrainTarget, DueActions, MAX_RESETS, RESET_RETRY_MS, SILENT_MS,
    StreamEntry, Streams, schedule,
};
use crate::routing::fraction_of;
use berth_api::CloseReason;

impl Streams {
    /// A session has ended: its streams close.
    pub fn end_session(&mut self, session_ref: &str, reason: CloseReason, now: u64) {
        let ids = self.by_session.get(session_ref).cloned();
        for id in ids.into_iter().flatten() {
            self.end(id, reason, now);
        }
    }

    /// An operator has ended a stream: it closes. A stream that is not open here is ignored.
    pub fn end_stream(&mut self, stream: &str, now: u64) {
        let mut open = self.open.iter();
        let found = open.find(|(_, open)| open.placed.stream == stream);
        if let Some(id) = found.map(|(id, _)| *id) {
            self.end(id, CloseReason::ClosedByOperator, now);
        }
    }

    fn end(&mut self, id: u32, reason: CloseReason, now: u64) {
        if let Some(stream) = self.open.get_mut(&id) {
            let timeout = self.close_timeout_ms;
            let has_begun = begin_close(&mut self.deadlines, id, stream, reason, now, timeout);
            self.closing = self.closing.saturating_add(usize::from(has_begun));
        }
    }

    /// A drain: the streams that it closes end one after the other within `over_ms`, or earlier where an earlier drain
    /// says so. `random`, in `0.0..1.0`, keeps workers with few streams from closing theirs at the same moment.
    pub fn drain(&mut self, target: DrainTarget<'_>, over_ms: u64, now: u64, random: f64) {
        let is_drained = |stream: &StreamEntry| match target {
            DrainTarget::Engine { pool, engine } => {
                stream.placed.pool == pool && stream.placed.engine == engine
            }
            DrainTarget::Gateway => true,
        };
        let mut ids: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, stream)| is_drained(stream) && stream.state.close_reason.get().is_none())
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        if let DrainTarget::Engine { pool, engine } = target {
            self.engine_drains.begin(pool, engine, over_ms, now);
        }
        let count = ids.len() as u64;
        let offset = fraction_of(over_ms, random);
        for (index, id) in (0_u64..).zip(ids) {
            let Some(stream) = self.open.get_mut(&id) else {
                continue;
            };
            // The time is cut into equal slots, one per stream; every stream ends at the same offset in its slot.
            let delay_share = u128::from(over_ms) * u128::from(index) + u128::from(offset);
            let wait = u64::try_from(delay_share / u128::from(count.max(1))).unwrap_or(over_ms);
            // The streams of a key close together, so that they find one engine again.
            let of_key = match target {
                DrainTarget::Engine { .. } => self.engine_drains.close_at(&stream.placed, now),
                DrainTarget::Gateway => None,
            };
            let drain_at = of_key.unwrap_or_else(|| now.saturating_add(wait));
            stream.drain_at = Some(
                stream
                    .drain_at
                    .map_or(drain_at, |current| current.min(drain_at)),
            );
            schedule(&mut self.deadlines, id, stream, None);
        }
    }

    /// The drain of an engine has ended: streams that open there from now on stay open.
    pub fn end_engine_drain(&mut self, pool: &str, engine: &str) {
        self.engine_drains.end(pool, engine);
    }

    /// A stream's close frame was sent to the engine: the echo gets a close timeout of its own.
    pub fn close_frame_sent(&mut self, id: u32, now: u64) {
        if let Some(stream) = self.open.get_mut(&id) {
            let deadline = now.saturating_add(self.close_timeout_ms);
            schedule(&mut self.deadlines, id, stream, Some(deadline));
        }
    }

    /// Everything that is due. Resets above the limit stay due; streams without a session are reset before relocated
    /// ones.
    pub fn due(&mut self, now: u64) -> DueActions {
        let mut actions = DueActions::default();
        while let Some(id) = self.take(ClosePriority::None, now) {
            let Some(stream) = self.open.get_mut(&id) else {
                continue;
            };
            let (end, reason) = stream.end();
            if end <= now {
                let timeout = self.close_timeout_ms;
                begin_close(&mut self.deadlines, id, stream, reason, now, timeout);
                self.closing = self.closing.saturating_add(1);
            } else {
                stream.warned = true;
                actions.warnings = actions.warnings.saturating_add(1);
                schedule(&mut self.deadlines, id, stream, None);
            }
        }
        let retry_at = now.saturating_add(RESET_RETRY_MS);
        for priority in [ClosePriority::SessionEnded, ClosePriority::Relocated] {
            while actions.resets.len() < MAX_RESETS
                && let Some(id) = self.take(priority, now)
            {
                if let Some(stream) = self.open.get_mut(&id) {
                    actions.resets.push(id);
                    schedule(&mut self.deadlines, id, stream, Some(retry_at));
                }
            }
        }
        actions
    }

    /// When the first of the streams that are not closing must end or be warned.
    pub fn next_end_at(&self) -> Option<u64> {
        let (priority, at, _) = self.deadlines.first()?;
        (*priority == ClosePriority::None).then_some(*at)
    }

    /// The clock has moved back by `moved_back_ms`. Expiry times of sessions are times of day and stay; all other
    /// deadlines keep their distance.
    pub fn clock_moved_back(&mut self, moved_back_ms: u64) {
        self.engine_drains.clock_moved_back(moved_back_ms);
        for (id, stream) in &mut self.open {
            let move_back = |time: u64| time.saturating_sub(moved_back_ms);
            stream.max_age_at = stream.max_age_at.map(move_back);
            stream.drain_at = stream.drain_at.map(move_back);
            let closing = stream.state.close_reason.get().is_some();
            let deadline = closing.then(|| move_back(stream.next));
            schedule(&mut self.deadlines, *id, stream, deadline);
        }
    }

    /// Removes the first deadline of a priority that is due.
    fn take(&mut self, priority: ClosePriority, now: u64) -> Option<u32> {
        let range = (priority, 0, 0)..=(priority, now, u32::MAX);
        let first = self.deadlines.range(range).next().copied()?;
        self.deadlines.remove(&first);
        Some(first.2)
    }
}

/// Starts to close a stream; false when it is closing already.
fn begin_close(
    deadlines: &mut Deadlines,
    id: u32,
    stream: &mut StreamEntry,
    reason: CloseReason,
    now: u64,
    close_timeout_ms: u64,
) -> bool {
    if stream.state.close_reason.get().is_some() {
        return false;
    }
    stream.state.close_reason.set(Some(reason));
    let is_silent = now.saturating_sub(stream.state.last_active.get()) >= SILENT_MS;
    let timeout = if is_silent { 0 } else { close_timeout_ms };
    schedule(deadlines, id, stream, Some(now.saturating_add(timeout)));
    true
}
