//! How the board keeps up: with the snapshots, with the books that have changed, and lap by lap with what only
//! time changes.

use super::super::Slot;
use super::{Board, Entry, Exclusions, Facts, Open, Peaks, Sums, Told};
use crate::engine::{Engine, EngineName};
use crate::strategies::packed;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Documents whose cost is remembered.
const DOCUMENTS: usize = 4096;
/// What only time changes shows within so long.
const LAP: Duration = Duration::from_millis(250);

impl Board {
    /// Takes over a snapshot and goes on with the lap. `turn`: the number of this choice.
    pub(crate) fn follow(&mut self, engines: &Arc<[Arc<Engine>]>, now: Instant, turn: u64) {
        self.scale.turn = turn;
        if !Arc::ptr_eq(&self.engines, engines) {
            self.take_over(engines, now);
        }
        self.changes.take(&mut self.changed, &mut self.lessons);
        for lesson in self.lessons.drain(..) {
            self.costs.learn(&lesson, DOCUMENTS);
        }
        while let Some(slot) = self.changed.pop() {
            self.look(slot, now);
        }
        self.holders.forget(now);
        let (at, since) = self.lap;
        let Some(since) = since else {
            self.lap.1 = Some(now);
            return;
        };
        let passed = now.saturating_duration_since(since).min(LAP);
        let count = self.entries.len() as u128 * passed.as_micros() / LAP.as_micros();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > 0 {
            let slots = self.slots();
            // `Iterator::cycle` would walk to where the lap is.
            let first = slots.clone().skip(at);
            for slot in first.chain(slots).take(count) {
                let until = self.until.get(slot as usize).copied().flatten();
                if until.is_some_and(|until| until <= now) {
                    self.look(slot, now);
                }
            }
            self.lap = ((at + count) % self.entries.len().max(1), Some(now));
        }
    }

    fn take_over(&mut self, engines: &Arc<[Arc<Engine>]>, now: Instant) {
        let before = std::mem::replace(&mut self.engines, Arc::clone(engines));
        let same = |(a, b): (&Arc<Engine>, &Arc<Engine>)| Arc::ptr_eq(a, b) || a.name == b.name;
        let members = before.len() == engines.len() && before.iter().zip(engines.iter()).all(same);
        if !members {
            self.renumber(&before);
        }
        for slot in self.slots() {
            let old = before.get(slot as usize).filter(|_| members);
            let Some(new) = engines.get(slot as usize) else {
                continue;
            };
            if old.is_some_and(|old| Arc::ptr_eq(old, new)) {
                continue;
            }
            let load = |engine: &Engine| engine.load.clone();
            let (told, tells) = (old.and_then(|old| load(old)), load(new));
            let news = match (&told, &tells) {
                (Some(told), Some(tells)) => !Arc::ptr_eq(told, tells),
                (told, tells) => told.is_some() || tells.is_some(),
            };
            if old.is_none_or(|old| !Arc::ptr_eq(&old.tally, &new.tally)) {
                new.tally.tell(&self.changes, slot);
            }
            if news {
                let documents = tells.as_ref().map_or(&[][..], |load| &load.documents);
                self.holders.list(slot, documents);
            }
            // Else it has just been copied.
            if members && let Some(told) = self.told.get_mut(slot as usize) {
                *told = Told::by(new);
            }
            self.look(slot, now);
        }
    }

    /// Other engines than before: everything begins anew, but what was placed is kept.
    fn renumber(&mut self, before: &[Arc<Engine>]) {
        let count = self.engines.len();
        let mut order: Vec<Slot> = self.slots().collect();
        let name = |slot: &Slot| self.engine(*slot).map_or("", |engine| engine.name.as_str());
        order.sort_by(|a, b| packed::natural(name(a), name(b)));
        let unknown = Entry {
            facts: Facts::default(),
            verdict: None,
        };
        self.told = self.engines.iter().map(|e| Told::by(e)).collect();
        self.entries = vec![unknown; count];
        self.until = vec![None; count];
        for (rank, slot) in (0..).zip(order) {
            if let Some(entry) = self.entries.get_mut(slot as usize) {
                entry.facts.rank = rank;
            }
        }
        let slots = self.slots();
        let names: HashMap<&EngineName, Slot> =
            self.engines.iter().map(|e| &e.name).zip(slots).collect();
        let moved = |slot: Slot| names.get(&before.get(slot as usize)?.name).copied();
        self.holders.renumber(count, moved);
        self.keys = Peaks::new(count);
        self.open = Open::new(count);
        self.due.clear();
        self.excluded = Exclusions::default();
        self.sessions = 0;
        self.sums = Sums::default();
        self.lap = (0, None);
        // What was noted were the numbers of before.
        self.changes = Arc::default();
        self.changed.clear();
    }
}
