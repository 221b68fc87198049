//! The engines of one pool as the decisions see them: the latest snapshot, one [`Candidate`] for each engine, the documents
//! that they hold, and what sessions cost in this pool. Keeps the candidates up to date; decides nothing.

use crate::accounting::DirtySet;
use crate::affinity::{DocumentKey, Holders};
use crate::candidate::Candidate;
use crate::cost::PoolCosts;
use crate::engine::{Engine, EngineName};
use crate::filter::{Eligibility, FilterReason};
use crate::strategies::packed;
use crate::{EngineIndex, Rules, SchedulingRequest};
use rand::Rng;
use rand::seq::index;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Engines that one decision scores in a larger pool: the best of that many random engines is as good a choice as the best
/// of all (`make sim`), and the time of a decision does not grow with the pool.
const SAMPLE_SIZE: usize = 500;

/// The engines of one pool.
pub(crate) struct PoolMembers {
    engines: Arc<[Arc<Engine>]>,
    /// One for each engine, in the order of the snapshot.
    candidates: Vec<Candidate>,
    /// Engines whose accounting has changed since the last decision.
    dirty: Arc<DirtySet>,
    pub(crate) holders: Holders,
    costs: Arc<PoolCosts>,
}

impl PoolMembers {
    /// No engine yet. `salt`: a random number.
    pub(crate) fn new(salt: u64) -> Self {
        Self {
            engines: Arc::from([]),
            candidates: Vec::new(),
            dirty: Arc::default(),
            holders: Holders::new(salt),
            costs: Arc::default(),
        }
    }

    pub(crate) fn engine(&self, index: EngineIndex) -> Option<&Arc<Engine>> {
        self.engines.get(index as usize)
    }

    /// The key of the document that a placement opens.
    pub(crate) fn document(&self, request: &SchedulingRequest<'_>) -> Option<DocumentKey> {
        request.document.map(|name| self.holders.key(name))
    }

    /// All engines, in order.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = (EngineIndex, &Candidate)> + Clone {
        (0..).zip(&self.candidates)
    }

    /// A random sample of the engines, with engines that hold the document, in order. `None` in a small pool.
    pub(crate) fn sample(
        &self,
        document: Option<DocumentKey>,
        random: &mut dyn Rng,
    ) -> Option<Vec<EngineIndex>> {
        if self.candidates.len() <= 2 * SAMPLE_SIZE {
            return None;
        }
        let sample = index::sample(random, self.candidates.len(), SAMPLE_SIZE);
        let mut sample: Vec<EngineIndex> = sample
            .into_iter()
            .filter_map(|index| EngineIndex::try_from(index).ok())
            .collect();
        if let Some(document) = document {
            sample.extend(self.holders.get(document).sample(random));
        }
        sample.sort_unstable();
        sample.dedup();
        Some(sample)
    }

    pub(crate) fn candidate(&self, index: EngineIndex) -> Option<&Candidate> {
        self.candidates.get(index as usize)
    }

    /// Sessions on all engines.
    pub(crate) fn sessions(&self) -> u64 {
        self.candidates.iter().map(|c| u64::from(c.sessions)).sum()
    }

    /// Makes the candidates those of this snapshot at this time.
    pub(crate) fn sync(&mut self, engines: &Arc<[Arc<Engine>]>, rules: &Rules, now: Instant) {
        if !Arc::ptr_eq(&self.engines, engines) {
            self.apply_snapshot(engines, now);
        }
        for index in self.dirty.take() {
            self.invalidate(index, now);
        }
        for (candidate, engine) in self.candidates.iter_mut().zip(engines.iter()) {
            if candidate
                .valid_until
                .is_some_and(|valid_until| valid_until <= now)
            {
                *candidate = Candidate::read(engine, candidate.rank, rules, now);
            }
        }
        self.holders.expire(now);
    }

    /// Excludes engines that the placement has tried, for this decision only.
    pub(crate) fn exclude_tried(&mut self, tried: &[EngineName], now: Instant) {
        if tried.is_empty() {
            return;
        }
        for (candidate, engine) in self.candidates.iter_mut().zip(self.engines.iter()) {
            if tried.contains(&engine.name) {
                candidate.eligibility = Eligibility::Excluded(FilterReason::Tried);
                candidate.valid_until = Some(now);
            }
        }
    }

    fn invalidate(&mut self, index: EngineIndex, now: Instant) {
        if let Some(candidate) = self.candidates.get_mut(index as usize) {
            candidate.valid_until = Some(now);
        }
    }

    fn apply_snapshot(&mut self, engines: &Arc<[Arc<Engine>]>, now: Instant) {
        let previous = std::mem::replace(&mut self.engines, Arc::clone(engines));
        let is_same_engine = |(left, right): (&Arc<Engine>, &Arc<Engine>)| {
            Arc::ptr_eq(left, right) || left.name == right.name
        };
        let same_members = previous.len() == engines.len()
            && previous.iter().zip(engines.iter()).all(is_same_engine);
        if !same_members {
            self.renumber(&previous, now);
        }
        for (index, engine) in (0..).zip(engines.iter()) {
            let previous_engine = previous.get(index as usize).filter(|_| same_members);
            if previous_engine.is_some_and(|previous_engine| Arc::ptr_eq(previous_engine, engine)) {
                continue;
            }
            self.invalidate(index, now);
            if previous_engine.is_none_or(|previous_engine| {
                !Arc::ptr_eq(&previous_engine.accounting, &engine.accounting)
            }) {
                engine.accounting.subscribe(&self.dirty, index, &self.costs);
            }
            let old_load =
                previous_engine.and_then(|previous_engine| previous_engine.load.as_ref());
            let is_new_load = match (old_load, &engine.load) {
                (Some(old_load), Some(new_load)) => !Arc::ptr_eq(old_load, new_load),
                (old_load, new_load) => old_load.is_some() || new_load.is_some(),
            };
            if is_new_load {
                let documents = engine.load.as_ref().map_or(&[][..], |load| &load.documents);
                self.holders.set_list(index, documents);
            }
        }
    }

    /// The snapshot has other engines than the one before: starts again with their new positions. Only the placements
    /// of documents are kept.
    fn renumber(&mut self, previous: &[Arc<Engine>], now: Instant) {
        let mut order: Vec<&Arc<Engine>> = self.engines.iter().collect();
        order.sort_by(|a, b| packed::compare_naturally(a.name.as_str(), b.name.as_str()));
        let ranks: HashMap<&EngineName, u32> = order.iter().map(|e| &e.name).zip(0..).collect();
        let rank = |engine: &Arc<Engine>| ranks.get(&engine.name).copied().unwrap_or(0);
        let unread = |engine| Candidate::unread(rank(engine), now);
        self.candidates = self.engines.iter().map(unread).collect();
        // Entries of the old set have the old positions.
        self.dirty = Arc::default();
        let names: HashMap<&EngineName, EngineIndex> =
            self.engines.iter().map(|e| &e.name).zip(0..).collect();
        let new_index =
            |index: EngineIndex| names.get(&previous.get(index as usize)?.name).copied();
        self.holders.renumber(self.engines.len(), new_index);
    }
}
