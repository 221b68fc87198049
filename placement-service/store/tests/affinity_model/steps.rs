//! The random steps: what a caller may do with a record, and with which arguments.

use crate::IDS;
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Claim {
        id: u32,
        owner: u8,
        claimer: usize,
        over: bool,
        max: Option<u32>,
    },
    /// `stale`: with the epoch before the record's.
    Hold {
        id: u32,
        stale: bool,
        claimer: usize,
        over: bool,
    },
    Replace {
        id: u32,
        stale: bool,
        claimer: usize,
        over: bool,
    },
    Release {
        id: u32,
        stale: bool,
    },
    Touch {
        id: u32,
    },
    RemoveOfOwner {
        owner: u8,
    },
    Sweep,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let id = || 0..IDS;
    let max = proptest::option::of(0_u32..3);
    prop_oneof![
        4 => (id(), 0_u8..2, 0_usize..2, prop::bool::weighted(0.3), max).prop_map(
            |(id, owner, claimer, over, max)| Step::Claim { id, owner, claimer, over, max }
        ),
        4 => (id(), prop::bool::weighted(0.2), 0_usize..2, prop::bool::weighted(0.2)).prop_map(
            |(id, stale, claimer, over)| Step::Hold { id, stale, claimer, over }
        ),
        2 => (id(), prop::bool::weighted(0.2), 0_usize..2, prop::bool::weighted(0.3)).prop_map(
            |(id, stale, claimer, over)| Step::Replace { id, stale, claimer, over }
        ),
        2 => (id(), prop::bool::weighted(0.2)).prop_map(|(id, stale)| Step::Release { id, stale }),
        1 => id().prop_map(|id| Step::Touch { id }),
        1 => (0_u8..2).prop_map(|owner| Step::RemoveOfOwner { owner }),
        1 => Just(Step::Sweep),
    ]
}
