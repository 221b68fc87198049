//! Which streams must end, when, and what is left to do about those that must. All that closes streams
//! at the gateway goes through here.

use super::{Due, MAX_RESETS, Open, RESET_AGAIN_MS, SILENT_MS, Streams, schedule};
use crate::route::part;
use berth_api::CloseReason;
use std::collections::BTreeSet;

impl Streams {
    /// A session is over, and its streams with it.
    pub fn end_session(&mut self, session_ref: &str, reason: CloseReason, now: u64) {
        for id in self.by_session.get(session_ref).into_iter().flatten() {
            if let Some(open) = self.open.get_mut(id) {
                let doomed = doom(&mut self.deadlines, *id, open, reason, now, self.grace_ms);
                self.doomed = self.doomed.saturating_add(usize::from(doomed));
            }
        }
    }

    /// An engine is drained: its streams end one after the other within `over_ms`. `random`, one of
    /// `0.0..1.0`, keeps workers with few streams from closing theirs at the same moment.
    pub fn drain(&mut self, pool: &str, engine: &str, over_ms: u64, now: u64, random: f64) {
        let on_it = |open: &Open| open.placed.pool == pool && open.placed.engine == engine;
        let fresh = |open: &Open| on_it(open) && open.drain_at.is_none();
        let mut ids: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, open)| fresh(open) && open.live.doom.get().is_none())
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        let count = ids.len() as u64;
        let offset = part(over_ms, random);
        for (index, id) in (0_u64..).zip(ids) {
            let Some(open) = self.open.get_mut(&id) else {
                continue;
            };
            // The place of this one in equal shares of the time, each as far into its share as the others.
            let share = u128::from(over_ms) * u128::from(index) + u128::from(offset);
            let wait = u64::try_from(share / u128::from(count.max(1))).unwrap_or(over_ms);
            open.drain_at = Some(now.saturating_add(wait));
            schedule(&mut self.deadlines, id, open, None);
        }
    }

    /// A stream's close frame is on its way to the engine: its echo gets a grace of its own.
    pub fn closing(&mut self, id: u32, now: u64) {
        if let Some(open) = self.open.get_mut(&id) {
            let at = now.saturating_add(self.grace_ms);
            schedule(&mut self.deadlines, id, open, Some(at));
        }
    }

    /// Looks at everything whose time has come. What is over the limit for one time stays due.
    pub fn due(&mut self, now: u64) -> Due {
        let mut due = Due::default();
        while let Some((at, id)) = self.deadlines.first().copied() {
            if at > now || due.resets.len() >= MAX_RESETS {
                break;
            }
            let Some(open) = self.open.get_mut(&id) else {
                self.deadlines.remove(&(at, id));
                continue;
            };
            let (end, reason) = open.end();
            if open.live.doom.get().is_some() {
                due.resets.push(id);
                let again = now.saturating_add(RESET_AGAIN_MS);
                schedule(&mut self.deadlines, id, open, Some(again));
            } else if end <= now {
                doom(&mut self.deadlines, id, open, reason, now, self.grace_ms);
                self.doomed = self.doomed.saturating_add(1);
            } else {
                open.warned = true;
                due.warnings = due.warnings.saturating_add(1);
                schedule(&mut self.deadlines, id, open, None);
            }
        }
        due
    }
}

/// Dooms a stream, unless it is already.
fn doom(
    deadlines: &mut BTreeSet<(u64, u32)>,
    id: u32,
    open: &mut Open,
    reason: CloseReason,
    now: u64,
    grace_ms: u64,
) -> bool {
    if open.live.doom.get().is_some() {
        return false;
    }
    open.live.doom.set(Some(reason));
    let silent = now.saturating_sub(open.live.heard.get()) >= SILENT_MS;
    let grace = if silent { 0 } else { grace_ms };
    schedule(deadlines, id, open, Some(now.saturating_add(grace)));
    true
}
