//! The engines of one pool as of the latest snapshot, with what the snapshot does not have: the order of their names,
//! the documents that they hold, and what sessions cost in this pool. Decides nothing.

use crate::affinity::{DocumentKey, Holders};
use crate::candidate::Candidate;
use crate::cost::PoolCosts;
use crate::engine::{Engine, EngineName};
use crate::strategies::packed;
use crate::{Ask, EngineIndex, Rules};
use rand::Rng;
use rand::seq::index;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Engines that one decision reads in a large pool. Choosing the best of so many random engines spreads sessions as
/// evenly as choosing the best of all (`make sim`, 10,000 engines), and takes a fixed time.
const SAMPLE_SIZE: usize = 256;

/// The engines of one pool.
pub(crate) struct PoolMembers {
    engines: Arc<[Arc<Engine>]>,
    /// The place of each engine in the natural order of the names.
    ranks: Vec<u32>,
    pub(crate) holders: Holders,
    costs: Arc<PoolCosts>,
}

impl PoolMembers {
    /// No engine yet. `salt`: a random number.
    pub(crate) fn new(salt: u64) -> Self {
        Self {
            engines: Arc::from([]),
            ranks: Vec::new(),
            holders: Holders::new(salt),
            costs: Arc::default(),
        }
    }

    pub(crate) fn engine(&self, index: EngineIndex) -> Option<&Arc<Engine>> {
        self.engines.get(index as usize)
    }

    /// The indices of all engines.
    pub(crate) fn indices(&self) -> impl Iterator<Item = EngineIndex> + Clone + use<> {
        // More engines than u32 has numbers do not fit into memory.
        0..u32::try_from(self.engines.len()).unwrap_or(u32::MAX)
    }

    /// The indices of a random sample and of engines that hold the document, in order. `None` in a pool that is so
    /// small that a decision reads all.
    pub(crate) fn sample(
        &self,
        document: Option<DocumentKey>,
        random: &mut dyn Rng,
    ) -> Option<Vec<EngineIndex>> {
        if self.engines.len() <= SAMPLE_SIZE {
            return None;
        }
        let sample = index::sample(random, self.engines.len(), SAMPLE_SIZE);
        let mut sample: Vec<EngineIndex> = sample
            .into_iter()
            .filter_map(|index| EngineIndex::try_from(index).ok())
            .collect();
        if let Some(document) = document {
            sample.extend(self.holders.of(document).some(random));
        }
        sample.sort_unstable();
        sample.dedup();
        Some(sample)
    }

    /// Reads the accounting of these engines now.
    pub(crate) fn candidates(
        &self,
        indices: impl Iterator<Item = EngineIndex>,
        rules: &Rules,
        ask: &Ask<'_>,
    ) -> Vec<Candidate> {
        let candidate = |index: EngineIndex| {
            let engine = self.engine(index)?;
            let rank = self.ranks.get(index as usize).copied().unwrap_or(0);
            Some(Candidate::new(engine, index, rank, rules, ask))
        };
        indices.filter_map(candidate).collect()
    }

    /// Takes over a new snapshot, and forgets placements of documents that are too old.
    pub(crate) fn sync(&mut self, engines: &Arc<[Arc<Engine>]>, now: Instant) {
        self.holders.forget(now);
        if Arc::ptr_eq(&self.engines, engines) {
            return;
        }
        let before = std::mem::replace(&mut self.engines, Arc::clone(engines));
        let same = |(a, b): (&Arc<Engine>, &Arc<Engine>)| Arc::ptr_eq(a, b) || a.name == b.name;
        let same_members =
            before.len() == engines.len() && before.iter().zip(engines.iter()).all(same);
        if !same_members {
            self.renumber(&before);
        }
        for (index, new) in self.indices().zip(engines.iter()) {
            let old = before.get(index as usize).filter(|_| same_members);
            if old.is_some_and(|old| Arc::ptr_eq(old, new)) {
                continue;
            }
            if old.is_none_or(|old| !Arc::ptr_eq(&old.tally, &new.tally)) {
                new.tally.share_costs(&self.costs);
            }
            let old_load = old.and_then(|old| old.load.as_ref());
            let is_new_load = match (old_load, &new.load) {
                (Some(old), Some(new)) => !Arc::ptr_eq(old, new),
                (old, new) => old.is_some() || new.is_some(),
            };
            if is_new_load {
                let documents = new.load.as_ref().map_or(&[][..], |load| &load.documents);
                self.holders.list(index, documents);
            }
        }
    }

    /// The snapshot has other engines than the one before: recomputes what depends on their positions.
    fn renumber(&mut self, before: &[Arc<Engine>]) {
        let mut order: Vec<&Arc<Engine>> = self.engines.iter().collect();
        order.sort_by(|a, b| packed::compare_naturally(a.name.as_str(), b.name.as_str()));
        let ranks: HashMap<&EngineName, u32> = order.iter().map(|e| &e.name).zip(0..).collect();
        let rank = |engine: &Arc<Engine>| ranks.get(&engine.name).copied().unwrap_or(0);
        self.ranks = self.engines.iter().map(rank).collect();
        let names: HashMap<&EngineName, EngineIndex> =
            self.engines.iter().map(|e| &e.name).zip(0..).collect();
        let moved = |index: EngineIndex| names.get(&before.get(index as usize)?.name).copied();
        self.holders.renumber(self.engines.len(), moved);
    }
}
