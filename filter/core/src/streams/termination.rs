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
        for id in self.by_session.get(session_ref).into_iter().flatten() {
            if let Some(open) = self.open.get_mut(id) {
                let timeout = self.close_timeout_ms;
                let begun = begin_close(&mut self.deadlines, *id, open, reason, now, timeout);
                self.closing = self.closing.saturating_add(usize::from(begun));
            }
        }
    }

    /// A drain: the streams that it closes end one after the other within `over_ms`, or earlier where an earlier drain
    /// says so. `random`, in `0.0..1.0`, keeps workers with few streams from closing theirs at the same moment.
    pub fn drain(&mut self, target: DrainTarget<'_>, over_ms: u64, now: u64, random: f64) {
        let is_drained = |open: &StreamEntry| match target {
            DrainTarget::Engine { pool, engine } => {
                open.placed.pool == pool && open.placed.engine == engine
            }
            DrainTarget::Gateway => true,
        };
        let mut ids: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, open)| is_drained(open) && open.state.close_reason.get().is_none())
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        let count = ids.len() as u64;
        let offset = fraction_of(over_ms, random);
        for (index, id) in (0_u64..).zip(ids) {
            let Some(open) = self.open.get_mut(&id) else {
                continue;
            };
            // The time is cut into equal slots, one per stream; every stream ends at the same offset in its slot.
            let share = u128::from(over_ms) * u128::from(index) + u128::from(offset);
            let wait = u64::try_from(share / u128::from(count.max(1))).unwrap_or(over_ms);
            let at = now.saturating_add(wait);
            open.drain_at = Some(open.drain_at.map_or(at, |earlier| earlier.min(at)));
            schedule(&mut self.deadlines, id, open, None);
        }
    }

    /// A stream's close frame was sent to the engine: the echo gets a close timeout of its own.
    pub fn close_frame_sent(&mut self, id: u32, now: u64) {
        if let Some(open) = self.open.get_mut(&id) {
            let at = now.saturating_add(self.close_timeout_ms);
            schedule(&mut self.deadlines, id, open, Some(at));
        }
    }

    /// Everything that is due. Resets above the limit stay due; streams without a session are reset before relocated
    /// ones.
    pub fn due(&mut self, now: u64) -> DueActions {
        let mut due = DueActions::default();
        while let Some(id) = self.take(ClosePriority::None, now) {
            let Some(open) = self.open.get_mut(&id) else {
                continue;
            };
            let (end, reason) = open.end();
            if end <= now {
                let timeout = self.close_timeout_ms;
                begin_close(&mut self.deadlines, id, open, reason, now, timeout);
                self.closing = self.closing.saturating_add(1);
            } else {
                open.warned = true;
                due.warnings = due.warnings.saturating_add(1);
                schedule(&mut self.deadlines, id, open, None);
            }
        }
        let retry_at = now.saturating_add(RESET_RETRY_MS);
        for priority in [ClosePriority::SessionEnded, ClosePriority::Relocated] {
            while due.resets.len() < MAX_RESETS
                && let Some(id) = self.take(priority, now)
            {
                if let Some(open) = self.open.get_mut(&id) {
                    due.resets.push(id);
                    schedule(&mut self.deadlines, id, open, Some(retry_at));
                }
            }
        }
        due
    }

    /// The clock has moved back by `by` milliseconds. Expiry times of sessions are times of day and stay; all other
    /// deadlines keep their distance.
    pub fn clock_moved_back(&mut self, by: u64) {
        for (id, open) in &mut self.open {
            let earlier = |at: u64| at.saturating_sub(by);
            open.max_age_at = open.max_age_at.map(earlier);
            open.drain_at = open.drain_at.map(earlier);
            let closing = open.state.close_reason.get().is_some();
            let at = closing.then(|| earlier(open.next));
            schedule(&mut self.deadlines, *id, open, at);
        }
    }

    /// Removes the first deadline of a priority that is due.
    fn take(&mut self, priority: ClosePriority, now: u64) -> Option<u32> {
        let due = (priority, 0, 0)..=(priority, now, u32::MAX);
        let first = self.deadlines.range(due).next().copied()?;
        self.deadlines.remove(&first);
        Some(first.2)
    }
}

/// Starts to close a stream; false when it is closing already.
fn begin_close(
    deadlines: &mut Deadlines,
    id: u32,
    open: &mut StreamEntry,
    reason: CloseReason,
    now: u64,
    close_timeout_ms: u64,
) -> bool {
    if open.state.close_reason.get().is_some() {
        return false;
    }
    open.state.close_reason.set(Some(reason));
    let silent = now.saturating_sub(open.state.last_active.get()) >= SILENT_MS;
    let timeout = if silent { 0 } else { close_timeout_ms };
    schedule(deadlines, id, open, Some(now.saturating_add(timeout)));
    true
}
