//! One pool as its chooser sees it: what is known of each engine, ordered so that a choice looks at few of
//! them. Follows the snapshots and the changes in the engines' books; what only time changes shows within a
//! lap around all, a few steps in every choice, and at once in an engine that is picked. Does not reserve.

mod sync;

use super::affinity::{DocumentKey, Holders};
use super::candidate::{Facts, Scale, Sums, Told};
use super::eligible_set::Open;
use super::filter::{self, Exclusion, Exclusions, Verdict};
use super::max_index::Peaks;
use super::score::Scores;
use super::strategies;
use super::{Rules, Slot};
use crate::accounting::{Changes, Standing};
use crate::cost::{Cost, Costs, Kind, Lesson};
use crate::engine::{Engine, EngineName};
use rand::{Rng, RngExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::time::Instant;

pub(super) struct Board {
    pub(super) rules: Rules,
    pub(super) random: Box<dyn Rng + Send>,
    pub(super) holders: Holders,
    /// The snapshot that it shows; slots are places in it.
    engines: Arc<[Arc<Engine>]>,
    told: Vec<Told>,
    entries: Vec<Entry>,
    /// When time alone may change what is known of each engine: apart from the entries, as a lap reads them all.
    until: Vec<Option<Instant>>,
    keys: Peaks,
    open: Open,
    /// Suspects whose trial is due.
    due: BTreeSet<Slot>,
    excluded: Exclusions,
    /// Sessions on all engines, whether they may be chosen or not.
    sessions: u64,
    sums: Sums,
    scale: Scale,
    /// Books that have changed since the last look.
    changes: Arc<Changes>,
    changed: Vec<Slot>,
    /// What sessions cost in this pool.
    costs: Costs,
    lessons: Vec<Lesson>,
    /// Where the lap is, and when it got there.
    lap: (usize, Option<Instant>),
}

/// What is known of one engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) facts: Facts,
    /// `None` before the first look.
    pub(super) verdict: Option<Verdict>,
}

/// An engine that was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) slot: Slot,
    /// It holds the document already.
    pub(super) held: bool,
}

impl Board {
    pub(super) fn new(rules: Rules, mut random: Box<dyn Rng + Send>) -> Self {
        let salt = random.next_u64();
        let sums = Sums::default();
        Self {
            rules,
            random,
            holders: Holders::new(salt),
            engines: Arc::from([]),
            told: Vec::new(),
            entries: Vec::new(),
            until: Vec::new(),
            keys: Peaks::default(),
            open: Open::default(),
            due: BTreeSet::new(),
            excluded: Exclusions::default(),
            sessions: 0,
            scale: sums.scale(0),
            sums,
            changes: Arc::default(),
            changed: Vec::new(),
            costs: Costs::default(),
            lessons: Vec::new(),
            lap: (0, None),
        }
    }

    pub(super) fn engine(&self, slot: Slot) -> Option<&Arc<Engine>> {
        self.engines.get(slot as usize)
    }

    pub(super) fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot as usize)
    }

    /// Every slot.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + Clone + use<> {
        // More engines than u32 has numbers do not fit into memory.
        0..u32::try_from(self.engines.len()).unwrap_or(u32::MAX)
    }

    /// How many engines are excluded, and why.
    pub(super) fn excluded(&self) -> Exclusions {
        let mut excluded = self.excluded.clone();
        if self.is_full() {
            for _ in self.open.iter() {
                excluded.count(Exclusion::PoolFull);
            }
        }
        excluded
    }

    /// Whether the whole pool has as many sessions as it may.
    pub(super) fn is_full(&self) -> bool {
        let most = self.rules.per_pool.map(u64::from);
        most.is_some_and(|most| self.sessions >= most)
    }

    /// Sessions that the pool can still take; `None` when nothing limits them.
    pub(super) fn room(&self) -> Option<u64> {
        let per_pool = self.rules.per_pool;
        let per_pool = per_pool.map(|most| u64::from(most).saturating_sub(self.sessions));
        let per_engine = self.rules.threshold.map(|most| {
            let room = |slot| {
                Some(u64::from(
                    most.saturating_sub(self.entry(slot)?.facts.sessions),
                ))
            };
            self.open.iter().filter_map(room).sum()
        });
        match (per_pool, per_engine) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (room, None) | (None, room) => room,
        }
    }

    /// Whether an engine that came up a while ago takes this session: the longer ago, the likelier. The
    /// square, as a new engine is the emptiest, and so every strategy's first pick.
    pub(super) fn is_warm_enough(&mut self, slot: Slot, now: Instant) -> bool {
        let slow_start = self.rules.slow_start;
        let warmth = self.entry(slot).map(|e| e.facts.warmth(slow_start, now));
        warmth.is_none_or(|warmth| warmth >= 1.0 || self.random.random::<f64>() < warmth * warmth)
    }

    /// Takes an engine out until the next look.
    pub(super) fn pass_over(&mut self, slot: Slot) {
        if let Some(entry) = self.entry(slot).copied() {
            self.put(slot, entry.facts, Verdict::Excluded(Exclusion::Tried));
        }
    }

    /// Suspects whose trial is due.
    pub(super) fn due(&self) -> Vec<Slot> {
        self.due.iter().copied().collect()
    }

    /// Whether this one is such a suspect.
    pub(super) fn is_due(&self, slot: Slot) -> bool {
        self.due.contains(&slot)
    }

    /// Looks at the books of one engine now. True when it may be chosen.
    pub(super) fn look(&mut self, slot: Slot, now: Instant) -> bool {
        let told = self.told.get(slot as usize);
        let standing = told.map(|told| told.tally.standing(now));
        standing.is_some_and(|standing| self.see(slot, &standing))
    }

    /// Takes in what a look at the books of one engine has shown. True when it may be chosen.
    pub(super) fn see(&mut self, slot: Slot, standing: &Standing) -> bool {
        let (Some(told), Some(entry)) = (self.told.get(slot as usize), self.entry(slot)) else {
            return false;
        };
        let facts = Facts::of(told, standing, entry.facts.rank);
        let verdict = filter::judge(told.state, &facts, standing, &self.rules);
        if let Some(until) = self.until.get_mut(slot as usize) {
            *until = standing.until;
        }
        self.put(slot, facts, verdict);
        verdict == Verdict::Eligible
    }

    /// Looks again at an engine that was picked, should time have changed it. True when it may be chosen.
    pub(super) fn is_still_open(&mut self, slot: Slot, now: Instant) -> bool {
        let until = self.until.get(slot as usize).copied().flatten();
        until.is_none_or(|until| until > now) || self.look(slot, now)
    }

    /// Takes an engine out of this choice: it has been tried.
    pub(super) fn leave_out(&mut self, tried: &[EngineName]) -> Vec<Slot> {
        let is_tried = |engine: &Arc<Engine>| tried.contains(&engine.name);
        let slots = self.slots().zip(self.engines.iter());
        let slots: Vec<Slot> = slots.filter(|(_, e)| is_tried(e)).map(|(s, _)| s).collect();
        for slot in &slots {
            self.pass_over(*slot);
        }
        slots
    }

    fn put(&mut self, slot: Slot, facts: Facts, verdict: Verdict) {
        let Some(entry) = self.entries.get_mut(slot as usize) else {
            return;
        };
        let before = std::mem::replace(
            entry,
            Entry {
                facts,
                verdict: Some(verdict),
            },
        );
        self.sessions += u64::from(facts.sessions);
        self.sessions = self.sessions.saturating_sub(before.facts.sessions.into());
        if before.verdict == Some(verdict) {
            if before.facts == facts {
                return;
            }
        } else {
            match before.verdict {
                Some(Verdict::TrialDue) => drop(self.due.remove(&slot)),
                Some(Verdict::Excluded(why)) => self.excluded.uncount(why),
                Some(Verdict::Eligible) | None => {}
            }
            match verdict {
                Verdict::TrialDue => drop(self.due.insert(slot)),
                Verdict::Excluded(why) => self.excluded.count(why),
                Verdict::Eligible => {}
            }
        }
        let open = verdict == Verdict::Eligible;
        if before.verdict == Some(Verdict::Eligible) {
            self.sums.remove(&before.facts);
        }
        if open {
            self.sums.add(&facts);
        }
        self.open.set(slot, open);
        let key = open.then(|| strategies::key(&self.rules, &facts, &self.scale));
        self.keys.set(slot, key);
        if !self.scale.fits(&self.sums) {
            self.weigh_anew();
        }
    }

    fn weigh_anew(&mut self) {
        self.scale = self.sums.scale(self.scale.turn);
        for slot in self.slots() {
            if self.keys.get(slot).is_some()
                && let Some(entry) = self.entry(slot).copied()
            {
                let key = strategies::key(&self.rules, &entry.facts, &self.scale);
                self.keys.set(slot, Some(key));
            }
        }
    }

    /// Picks an engine: the strategy's pick among all, or among those that hold the document, unless
    /// these are so much fuller that the document's weight does not make up for it.
    pub(super) fn pick(&mut self, document: Option<DocumentKey>) -> Option<Pick> {
        let strategy = self.rules.strategy;
        let any = strategies::pick(strategy, &self.open, &self.keys, &mut *self.random)?;
        let held = |slot| Some(Pick { slot, held: true });
        let free = Some(Pick {
            slot: any,
            held: false,
        });
        let Some(document) = document else {
            return free;
        };
        let holding = self.holders.of(document);
        if holding.has(any) {
            return held(any);
        }
        let few = holding
            .some(&mut *self.random)
            .filter_map(|slot| Some((slot, self.keys.get(slot)?)));
        let Some(holder) = strategies::pick_of_few(strategy, few, &mut *self.random) else {
            return free;
        };
        if self.total(holder)? + self.rules.weights.document >= self.total(any)? {
            return held(holder);
        }
        free
    }

    /// What the strategy's scores of an open engine come to, 0 to 1.
    fn total(&self, slot: Slot) -> Option<f64> {
        let key = self.keys.get(slot)?;
        if strategies::key_is_total(self.rules.strategy) {
            return Some(key);
        }
        Some(self.scores(self.entry(slot)?).total())
    }

    /// What a session of this kind costs in this pool, as far as is known.
    pub(super) fn guess(&self, kind: Kind) -> Cost {
        let known = self.costs.of(kind);
        known.unwrap_or_else(|| self.costs.of_any(kind.held))
    }

    /// What the strategy thinks of an engine.
    pub(super) fn scores(&self, entry: &Entry) -> Scores {
        strategies::scores(&self.rules, &entry.facts, &self.scale)
    }
}
