//! One decision: filters and scores the candidates, then picks one. Reserves nothing and keeps nothing.

use crate::affinity::{DocumentKey, Holders};
use crate::candidate::{Candidate, PoolBaseline};
use crate::filter::{Eligibility, Exclusion, Exclusions};
use crate::strategies::{self, Scored};
use crate::{EngineIndex, Rules};
use rand::{Rng, RngExt};
use tokio::time::Instant;

/// The engine that was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    pub(crate) index: EngineIndex,
    /// It holds the document already.
    pub(crate) held: bool,
    /// It is ejected, its trial is due, and no other engine is left.
    pub(crate) half_open: bool,
}

/// What was read, and what was decided.
#[derive(Debug)]
pub(crate) struct Decision {
    /// In the order of their indices.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) baseline: PoolBaseline,
    /// The pool has as many sessions as it may.
    pub(crate) is_pool_full: bool,
    /// Eligible engines that take no part because of slow start, in order.
    pub(crate) throttled: Vec<EngineIndex>,
    pub(crate) pick: Option<Pick>,
}

impl Decision {
    /// Nothing is picked yet. `turn`: the number of this placement.
    pub(crate) fn new(candidates: Vec<Candidate>, rules: &Rules, turn: u64) -> Self {
        let sessions: u64 = candidates.iter().map(|c| u64::from(c.sessions)).sum();
        let baseline = PoolBaseline::new(candidates.iter().filter(|c| c.is_eligible()), turn);
        Self {
            baseline,
            is_pool_full: rules.per_pool.is_some_and(|max| sessions >= u64::from(max)),
            throttled: Vec::new(),
            pick: None,
            candidates,
        }
    }

    /// Picks an eligible engine; if there is none, an ejected one whose trial is due.
    pub(crate) fn pick(
        &mut self,
        rules: &Rules,
        holders: &Holders,
        document: Option<DocumentKey>,
        now: Instant,
        random: &mut dyn Rng,
    ) {
        if self.is_pool_full {
            return;
        }
        let mut scored = Vec::with_capacity(self.candidates.len());
        for candidate in self.candidates.iter().filter(|c| c.is_eligible()) {
            scored.push(Scored {
                index: candidate.index,
                total: strategies::scores(rules, candidate, &self.baseline).total(),
            });
            if !is_admitted(candidate, rules, now, random) {
                self.throttled.push(candidate.index);
            }
        }
        // Slow start is no reason to refuse a placement: when all are throttled, all take part.
        if self.throttled.len() < scored.len() {
            scored.retain(|s| self.throttled.binary_search(&s.index).is_err());
        }
        self.pick = pick_scored(&scored, rules, holders, document, random).or_else(|| {
            let mut candidates = self.candidates.iter();
            let due = candidates.find(|c| c.eligibility == Eligibility::TrialDue)?;
            Some(Pick {
                index: due.index,
                held: document.is_some_and(|key| holders.holds(key, due.index)),
                half_open: true,
            })
        });
    }

    /// How many engines are excluded, and why.
    pub(crate) fn exclusions(&self) -> Exclusions {
        let mut exclusions = Exclusions::default();
        for candidate in &self.candidates {
            match candidate.eligibility {
                Eligibility::Excluded(reason) => exclusions.count(reason),
                Eligibility::Eligible if self.is_pool_full => exclusions.count(Exclusion::PoolFull),
                Eligibility::Eligible | Eligibility::TrialDue => {}
            }
        }
        exclusions
    }
}

/// Slow start: a new engine takes part in a decision with the square of its weight as probability, since it is the
/// emptiest one and so the first pick of every strategy.
fn is_admitted(candidate: &Candidate, rules: &Rules, now: Instant, random: &mut dyn Rng) -> bool {
    let weight = candidate.slow_start_weight(rules.slow_start, now);
    weight >= 1.0 || random.random::<f64>() < weight * weight
}

/// The strategy's pick; or its pick among the engines that hold the document, unless their scores are lower by more
/// than the document's weight.
fn pick_scored(
    scored: &[Scored],
    rules: &Rules,
    holders: &Holders,
    document: Option<DocumentKey>,
    random: &mut dyn Rng,
) -> Option<Pick> {
    let best = strategies::pick(rules.strategy, scored, random)?;
    let pick = |scored: Scored, held: bool| Pick {
        index: scored.index,
        held,
        half_open: false,
    };
    let Some(document) = document else {
        return Some(pick(best, false));
    };
    let holding = holders.of(document);
    if holding.has(best.index) {
        return Some(pick(best, true));
    }
    let holding = holding.some(random).filter_map(|index| {
        let place = scored.binary_search_by_key(&index, |s| s.index).ok()?;
        scored.get(place).copied()
    });
    let holding: Vec<Scored> = holding.collect();
    match strategies::pick_holder(rules.strategy, &holding, random) {
        Some(holder) if holder.total + rules.weights.document >= best.total => {
            Some(pick(holder, true))
        }
        _ => Some(pick(best, false)),
    }
}
