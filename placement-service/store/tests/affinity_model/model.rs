//! What a store should hold after a sequence of steps, and the check of one step against it.

use crate::steps::Step;
use crate::{CLAIMERS, IDS, LONG};
use berth_store::conformance::{affinity_claim, affinity_id, affinity_target};
use berth_store::{
    AffinityClaim, AffinityKind, AffinityState, AffinityStore, ClaimResult, OwnerId,
};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Preparing(usize),
    Held,
    Released,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    owner: u8,
    epoch: u64,
    phase: Phase,
    /// The deadline or the idle timeout has passed.
    over: bool,
}

impl Row {
    fn is_live(&self) -> bool {
        self.phase != Phase::Released && !self.over
    }
}

/// What the store should hold, and the greatest epoch that each id ever had.
#[derive(Default)]
struct Model {
    rows: BTreeMap<u32, Row>,
    epochs: BTreeMap<u32, u64>,
}

impl Model {
    /// The record, if a step with this epoch concerns it.
    fn row(&mut self, id: u32, stale: bool) -> Option<&mut Row> {
        self.rows.get_mut(&id).filter(|_| !stale)
    }

    fn epoch(&self, id: u32, stale: bool) -> u64 {
        let epoch = self.rows.get(&id).map_or(5, |row| row.epoch);
        epoch - u64::from(stale)
    }

    fn live_of(&self, owner: u8, without: u32) -> u32 {
        let of = |(id, row): &(&u32, &Row)| **id != without && row.owner == owner && row.is_live();
        u32::try_from(self.rows.iter().filter(of).count()).unwrap()
    }
}

const fn time(over: bool) -> Duration {
    if over { Duration::ZERO } else { LONG }
}

/// Runs the steps on the records from `base` on; after each, every record is what the model has.
pub(crate) async fn run(store: &impl AffinityStore, base: u32, steps: &[Step]) {
    while store.sweep_affinity(1_000).await.unwrap() > 0 {}
    let mut model = Model::default();
    let owner_id = |owner: u8| {
        let mut id = [owner; 32];
        id[..4].copy_from_slice(&base.to_le_bytes());
        OwnerId(id)
    };
    for step in steps {
        apply(store, base, &mut model, &owner_id, step).await;
        for id in 0..IDS {
            let found = store.find_affinity(&affinity_id(base + id)).await.unwrap();
            let row = model.rows.get(&id).filter(|row| row.is_live());
            assert_eq!(found.as_ref().map(|f| f.epoch), row.map(|row| row.epoch));
            let (Some(found), Some(row)) = (found, row) else {
                continue;
            };
            let is_same = match (&found.state, row.phase) {
                (AffinityState::Preparing { claimer }, Phase::Preparing(by)) => {
                    *claimer == CLAIMERS[by]
                }
                (AffinityState::Held(target), Phase::Held) => *target == affinity_target("a"),
                _ => false,
            };
            assert!(is_same, "{found:?} {row:?}");
            assert_eq!(found.owner, Some(owner_id(row.owner)));
        }
    }
}

async fn apply(
    store: &impl AffinityStore,
    base: u32,
    model: &mut Model,
    owner_id: &impl Fn(u8) -> OwnerId,
    step: &Step,
) {
    let target = affinity_target("a");
    match *step {
        Step::Claim {
            id,
            owner,
            claimer,
            over,
            max,
        } => {
            let claim = AffinityClaim {
                owner: Some(owner_id(owner)),
                ttl: time(over),
                max_per_owner: max,
                ..affinity_claim(base + id, CLAIMERS[claimer])
            };
            let result = store.claim_affinity(&claim).await.unwrap();
            let before = model.rows.get(&id).copied();
            let live = before.filter(Row::is_live);
            let is_full = max.is_some_and(|max| model.live_of(owner, id) >= max);
            match result {
                ClaimResult::Held(_) => assert_eq!(live.unwrap().phase, Phase::Held),
                ClaimResult::Preparing { .. } => {
                    assert!(matches!(live.unwrap().phase, Phase::Preparing(_)));
                }
                ClaimResult::LimitReached => assert!(live.is_none() && is_full),
                ClaimResult::Claimed { epoch } => {
                    assert!(live.is_none() && !is_full);
                    if let Some(before) = before {
                        assert_eq!(epoch, before.epoch + 1);
                    }
                    let greatest = model.epochs.insert(id, epoch);
                    // Two claims within one millisecond, the first one removed meanwhile, may have one epoch.
                    assert!(greatest.is_none_or(|greatest| greatest <= epoch));
                    let phase = Phase::Preparing(claimer);
                    model.rows.insert(
                        id,
                        Row {
                            owner,
                            epoch,
                            phase,
                            over,
                        },
                    );
                }
            }
        }
        Step::Hold {
            id,
            stale,
            claimer,
            over,
        } => {
            let (key, epoch) = (affinity_id(base + id), model.epoch(id, stale));
            let name = CLAIMERS[claimer];
            let held = store
                .hold_affinity(&key, epoch, name, &target, time(over))
                .await;
            let row = model.row(id, stale);
            let row = row.filter(|row| row.is_live() && row.phase == Phase::Preparing(claimer));
            assert_eq!(held.unwrap(), row.is_some());
            if let Some(row) = row {
                (row.phase, row.over) = (Phase::Held, over);
            }
        }
        Step::Replace {
            id,
            stale,
            claimer,
            over,
        } => {
            let (key, epoch) = (affinity_id(base + id), model.epoch(id, stale));
            let replaced = store.replace_affinity(&key, epoch, CLAIMERS[claimer], time(over));
            let replaced = replaced.await.unwrap();
            let row = model.row(id, stale);
            let row = row.filter(|row| row.is_live() && row.phase == Phase::Held);
            assert_eq!(replaced, row.as_ref().map(|row| row.epoch + 1));
            if let Some(row) = row {
                (row.phase, row.over) = (Phase::Preparing(claimer), over);
                row.epoch += 1;
                model.epochs.insert(id, epoch + 1);
            }
        }
        Step::Release { id, stale } => {
            let (key, epoch) = (affinity_id(base + id), model.epoch(id, stale));
            let released = store.release_affinity(&key, epoch, "x").await;
            let row = model.row(id, stale);
            let row = row.filter(|row| row.phase != Phase::Released);
            assert_eq!(released.unwrap(), row.is_some());
            if let Some(row) = row {
                row.phase = Phase::Released;
            }
        }
        Step::Touch { id } => {
            let active = [(affinity_id(base + id), Duration::ZERO)];
            store.touch_affinity(&active).await.unwrap();
        }
        Step::RemoveOfOwner { owner } => {
            let (kind, id) = (AffinityKind::Key, owner_id(owner));
            let live = store.affinity_of_owner(kind, &id, 10).await.unwrap().len();
            assert_eq!(live, model.live_of(owner, IDS) as usize);
            let removed = store.remove_affinity_of_owner(kind, &id).await.unwrap();
            let before = model.rows.len();
            model.rows.retain(|_, row| row.owner != owner);
            assert_eq!(removed as usize, before - model.rows.len());
        }
        Step::Sweep => {
            let swept = store.sweep_affinity(1_000).await.unwrap();
            let before = model.rows.len();
            model.rows.retain(|_, row| !row.over);
            assert_eq!(swept as usize, before - model.rows.len());
        }
    }
}
