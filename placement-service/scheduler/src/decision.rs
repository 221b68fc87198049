//! One decision: filters and scores the candidates, then picks one. Reserves nothing and keeps nothing.

use crate::affinity::{DocumentKey, Holders};
use crate::candidate::{Candidate, PoolBaseline};
use crate::filter::{Eligibility, FilterReason, FilterReasons};
use crate::pool::PoolMembers;
use crate::strategies::{self, Scored};
use crate::{EngineIndex, Rules, SchedulingRequest};
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

/// What was decided.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) baseline: PoolBaseline,
    /// The pool has as many sessions as it may.
    pub(crate) is_pool_full: bool,
    /// Eligible engines that take no part because of slow start, in order.
    pub(crate) throttled: Vec<EngineIndex>,
    /// `None`: the placement is refused.
    pub(crate) pick: Option<Pick>,
}

impl Decision {
    /// Picks an eligible engine; if there is none, an ejected one whose trial is due. `turn`: the number of this
    /// placement. `sample`: the engines to score, in order; `None`: all.
    pub(crate) fn new(
        pool: &PoolMembers,
        rules: &Rules,
        request: &SchedulingRequest<'_>,
        turn: u64,
        sample: Option<&[EngineIndex]>,
        random: &mut dyn Rng,
    ) -> Self {
        let is_eligible = |(_, candidate): &(EngineIndex, &Candidate)| candidate.is_eligible();
        let candidate = |index: &EngineIndex| Some((*index, pool.candidate(*index)?));
        let eligible: Vec<(EngineIndex, &Candidate)> = match sample {
            None => pool.candidates().filter(is_eligible).collect(),
            Some(sample) => {
                let candidates = sample.iter().filter_map(candidate);
                candidates.filter(is_eligible).collect()
            }
        };
        let baseline = PoolBaseline::new(eligible.iter().map(|(_, candidate)| *candidate), turn);
        let max = rules.per_pool.map(u64::from);
        let mut decision = Self {
            baseline,
            is_pool_full: max.is_some_and(|max| pool.sessions() >= max),
            throttled: Vec::new(),
            pick: None,
        };
        if decision.is_pool_full {
            return decision;
        }
        let mut scored = Vec::with_capacity(eligible.len());
        for (index, candidate) in eligible {
            let total = strategies::scores(rules, candidate, &baseline).total();
            scored.push(Scored { index, total });
            if !is_admitted(candidate, rules, request.now, random) {
                decision.throttled.push(index);
            }
        }
        // Slow start is no reason to refuse a placement: when all are throttled, all take part.
        if decision.throttled.len() < scored.len() && !decision.throttled.is_empty() {
            scored.retain(|s| decision.throttled.binary_search(&s.index).is_err());
        }
        let document = pool.document(request);
        let weight = request.document_weight.unwrap_or(rules.weights.document);
        decision.pick = pick_scored(&scored, rules, &pool.holders, (document, weight), random)
            .or_else(|| {
                let (index, _) = trials_due(pool).next()?;
                Some(Pick {
                    index,
                    held: document.is_some_and(|key| pool.holders.holds(key, index)),
                    half_open: true,
                })
            });
        decision
    }

    /// How many engines are excluded, and why.
    pub(crate) fn exclusions(&self, pool: &PoolMembers) -> FilterReasons {
        let mut exclusions = FilterReasons::default();
        for (_, candidate) in pool.candidates() {
            match candidate.eligibility {
                Eligibility::Excluded(reason) => exclusions.count(reason),
                Eligibility::Eligible if self.is_pool_full => {
                    exclusions.count(FilterReason::PoolFull)
                }
                Eligibility::Eligible | Eligibility::HalfOpen => {}
            }
        }
        exclusions
    }
}

/// Ejected engines whose trial is due.
pub(crate) fn trials_due(
    pool: &PoolMembers,
) -> impl Iterator<Item = (EngineIndex, &Candidate)> + '_ {
    let candidates = pool.candidates();
    candidates.filter(|(_, c)| c.eligibility == Eligibility::HalfOpen)
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
    (document, weight): (Option<DocumentKey>, f64),
    random: &mut dyn Rng,
) -> Option<Pick> {
    let best = strategies::pick(rules.strategy, scored, random)?;
    let pick = |scored: Scored, holds_document: bool| Pick {
        index: scored.index,
        held: holds_document,
        half_open: false,
    };
    let Some(document) = document else {
        return Some(pick(best, false));
    };
    let holders_of_document = holders.get(document);
    if holders_of_document.contains(best.index) {
        return Some(pick(best, true));
    }
    let scored_holders = holders_of_document.sample(random).filter_map(|index| {
        let position = scored.binary_search_by_key(&index, |s| s.index).ok()?;
        scored.get(position).copied()
    });
    let scored_holders: Vec<Scored> = scored_holders.collect();
    match strategies::pick_holder(rules.strategy, &scored_holders, random) {
        Some(holder) if holder.total + weight >= best.total => Some(pick(holder, true)),
        _ => Some(pick(best, false)),
    }
}
