//! Which streams must end, when, and what is left to do about those that must. All that closes streams
//! at the gateway goes through here.

use super::{
    Class, Deadlines, Due, MAX_RESETS, Open, RESET_AGAIN_MS, SILENT_MS, Streams, schedule,
};
use crate::route::part;
use berth_api::CloseReason;

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

    /// An engine is drained: its streams end one after the other within `over_ms`, or as an earlier drain has it
    /// where that is sooner. `random`, one of `0.0..1.0`, keeps workers with few streams from closing theirs at the
    /// same moment.
    pub fn drain(&mut self, pool: &str, engine: &str, over_ms: u64, now: u64, random: f64) {
        let on_it = |open: &Open| open.placed.pool == pool && open.placed.engine == engine;
        let mut ids: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, open)| on_it(open) && open.live.doom.get().is_none())
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
            let at = now.saturating_add(wait);
            open.drain_at = Some(open.drain_at.map_or(at, |earlier| earlier.min(at)));
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

    /// Looks at everything whose time has come. What is over the limit for one time stays due; whose session is
    /// over is cut off before those who only have to go elsewhere.
    pub fn due(&mut self, now: u64) -> Due {
        let mut due = Due::default();
        while let Some(id) = self.take(Class::Live, now) {
            let Some(open) = self.open.get_mut(&id) else {
                continue;
            };
            let (end, reason) = open.end();
            if end <= now {
                doom(&mut self.deadlines, id, open, reason, now, self.grace_ms);
                self.doomed = self.doomed.saturating_add(1);
            } else {
                open.warned = true;
                due.warnings = due.warnings.saturating_add(1);
                schedule(&mut self.deadlines, id, open, None);
            }
        }
        let again = now.saturating_add(RESET_AGAIN_MS);
        for class in [Class::Over, Class::Leaving] {
            while due.resets.len() < MAX_RESETS
                && let Some(id) = self.take(class, now)
            {
                if let Some(open) = self.open.get_mut(&id) {
                    due.resets.push(id);
                    schedule(&mut self.deadlines, id, open, Some(again));
                }
            }
        }
        due
    }

    /// The clock has been set back by so many milliseconds. The ends of sessions are times of day and stay, all
    /// else is as far away as it was.
    pub fn set_back(&mut self, by: u64) {
        for (id, open) in &mut self.open {
            let earlier = |at: u64| at.saturating_sub(by);
            open.max_age_at = open.max_age_at.map(earlier);
            open.drain_at = open.drain_at.map(earlier);
            let doomed = open.live.doom.get().is_some();
            let at = doomed.then(|| earlier(open.next));
            schedule(&mut self.deadlines, *id, open, at);
        }
    }

    /// Takes off the first deadline of a class that has come.
    fn take(&mut self, class: Class, now: u64) -> Option<u32> {
        let come = (class, 0, 0)..=(class, now, u32::MAX);
        let first = self.deadlines.range(come).next().copied()?;
        self.deadlines.remove(&first);
        Some(first.2)
    }
}

/// Dooms a stream, unless it is already.
fn doom(
    deadlines: &mut Deadlines,
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
