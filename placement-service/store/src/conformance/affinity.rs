//! Affinity records: a key is claimed once, every step compares the epoch, and what is not live counts as absent.

mod lists;
mod races;

pub use lists::{affinity_lists, affinity_owners, tab_affinity};
pub use races::{
    affinity_claim_race, affinity_late_hold_race, affinity_limit_race, affinity_sweep_race,
};

use crate::{
    AffinityClaim, AffinityId, AffinityKind, AffinityRecord, AffinityState, AffinityStore,
    AffinityTarget, ClaimResult, OwnerId,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);
/// Over at once.
const OVER: Duration = Duration::ZERO;

/// The id of a record; ids with different seeds differ.
#[must_use]
pub fn affinity_id(seed: u32) -> AffinityId {
    let mut id = [7; 32];
    id[..4].copy_from_slice(&seed.to_le_bytes());
    AffinityId(id)
}

/// A claim without an owner.
#[must_use]
pub fn affinity_claim(seed: u32, claimer: &str) -> AffinityClaim<'_> {
    AffinityClaim {
        id: affinity_id(seed),
        owner: None,
        pool: "apps",
        claimer,
        ttl: LONG,
        max_per_owner: None,
    }
}

/// An engine with every field set.
#[must_use]
pub fn affinity_target(engine: &str) -> AffinityTarget {
    let session = ("x-qlik-session".to_owned(), "Zoë's \"session\"".to_owned());
    AffinityTarget {
        engine: engine.to_owned(),
        api: "[2001:db8::1]:9076".parse().unwrap(),
        stream: Some("10.0.0.1:9077".parse().unwrap()),
        incarnation: Some("pod-uid".to_owned()),
        headers: BTreeMap::from([session]),
    }
}

async fn claimed(store: &impl AffinityStore, claim: &AffinityClaim<'_>) -> u64 {
    match store.claim_affinity(claim).await.unwrap() {
        ClaimResult::Claimed { epoch } => epoch,
        other => unreachable!("not claimed: {other:?}"),
    }
}

/// Claims and holds a record; returns its epoch.
async fn hold(store: &impl AffinityStore, seed: u32, engine: &str) -> u64 {
    let epoch = claimed(store, &affinity_claim(seed, "r1")).await;
    let (id, target) = (affinity_id(seed), affinity_target(engine));
    let held = store.hold_affinity(&id, epoch, "r1", &target, LONG).await;
    assert!(held.unwrap());
    epoch
}

async fn find(store: &impl AffinityStore, seed: u32) -> Option<AffinityRecord> {
    store.find_affinity(&affinity_id(seed)).await.unwrap()
}

/// Checks the way of one record through every state.
pub async fn affinity_states(store: &impl AffinityStore) {
    let (id, target) = (affinity_id(1), affinity_target("engine-0"));
    let owner = Some(OwnerId([9; 32]));
    let claim = AffinityClaim {
        owner,
        ..affinity_claim(1, "r1")
    };
    assert_eq!(find(store, 1).await, None);
    let epoch = claimed(store, &claim).await;
    let preparing = find(store, 1).await.unwrap();
    let claimer = "r1".to_owned();
    assert_eq!(preparing.state, AffinityState::Preparing { claimer });
    assert_eq!((preparing.epoch, preparing.owner), (epoch, owner));
    assert_eq!((preparing.id, preparing.pool.as_str()), (id, "apps"));
    assert_eq!(preparing.kind, AffinityKind::Key);
    let other = affinity_claim(1, "r2");
    let ClaimResult::Preparing { remaining } = store.claim_affinity(&other).await.unwrap() else {
        unreachable!("claimed twice");
    };
    assert!(remaining > LONG / 2 && remaining <= LONG, "{remaining:?}");
    // A replica that claims twice is two callers.
    let again = store.claim_affinity(&claim).await.unwrap();
    assert!(matches!(again, ClaimResult::Preparing { .. }));

    let hold = async |epoch, claimer: &str| {
        let held = store.hold_affinity(&id, epoch, claimer, &target, LONG);
        held.await.unwrap()
    };
    assert!(!hold(epoch, "r2").await, "another claimer");
    assert!(!hold(epoch + 1, "r1").await, "another epoch");
    assert!(hold(epoch, "r1").await);
    assert!(!hold(epoch, "r1").await, "held already");
    let held = find(store, 1).await.unwrap();
    assert_eq!(held.state, AffinityState::Held(target.clone()));
    assert_eq!((held.epoch, held.owner), (epoch, owner));
    assert_eq!(held.created_at_ms, preparing.created_at_ms);
    let idle = u64::try_from(LONG.as_millis()).unwrap();
    assert_eq!(held.expires_at_ms - held.last_active_at_ms, idle);
    let found = store.claim_affinity(&other).await.unwrap();
    assert_eq!(found, ClaimResult::Held(Box::new(held)));

    let replace = async |epoch, ttl| store.replace_affinity(&id, epoch, "r2", ttl).await.unwrap();
    assert_eq!(replace(epoch + 1, LONG).await, None, "another epoch");
    assert_eq!(replace(epoch, LONG).await, Some(epoch + 1));
    assert_eq!(replace(epoch + 1, LONG).await, None, "not held");
    let replacing = find(store, 1).await.unwrap();
    let claimer = "r2".to_owned();
    assert_eq!(replacing.state, AffinityState::Preparing { claimer });
    assert_eq!(replacing.owner, owner);
    assert!(hold(epoch + 1, "r2").await);

    let release = async |epoch| {
        let released = store.release_affinity(&id, epoch, "drained").await;
        released.unwrap()
    };
    assert!(!release(epoch).await, "another epoch");
    assert!(release(epoch + 1).await);
    assert!(!release(epoch + 1).await, "released already");
    assert!(!hold(epoch + 1, "r2").await, "released");
    assert_eq!(find(store, 1).await, None);
    assert!(claimed(store, &claim).await > epoch + 1);
    assert!(find(store, 1).await.is_some());
}

/// Checks that deadlines and idle times pass by the store's clock, and that nothing that is over can be held.
pub async fn affinity_expiry(store: &impl AffinityStore) {
    let (id, target) = (affinity_id(1), affinity_target("engine-0"));
    let short = AffinityClaim {
        ttl: OVER,
        ..affinity_claim(1, "r1")
    };
    let first = claimed(store, &short).await;
    let hold = async |epoch, claimer: &str, idle| {
        let held = store.hold_affinity(&id, epoch, claimer, &target, idle);
        held.await.unwrap()
    };
    assert!(!hold(first, "r1", LONG).await, "after the deadline");
    assert_eq!(find(store, 1).await, None);
    let second = claimed(store, &affinity_claim(1, "r2")).await;
    assert!(second > first);
    assert!(!hold(first, "r1", LONG).await, "overtaken");
    assert!(!store.release_affinity(&id, first, "late").await.unwrap());
    assert!(hold(second, "r2", OVER).await);
    assert_eq!(find(store, 1).await, None, "idle at once");
    let replaced = store.replace_affinity(&id, second, "r2", LONG).await;
    assert_eq!(replaced, Ok(None), "expired");
    let third = claimed(store, &affinity_claim(1, "r1")).await;
    assert!(third > second);
    assert!(hold(third, "r1", LONG).await);

    // Activity moves forward only, and only that of held records.
    let active_at = async |seed| find(store, seed).await.unwrap().last_active_at_ms;
    let before = active_at(1).await;
    let preparing = claimed(store, &affinity_claim(2, "r1")).await;
    let since = active_at(2).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let touch = async |seed, ago| store.touch_affinity(&[(affinity_id(seed), ago)]).await;
    touch(1, LONG).await.unwrap();
    assert_eq!(active_at(1).await, before, "not backwards");
    let ages = [OVER, LONG].map(|ago| (id, ago));
    let ages = [
        ages.as_slice(),
        &[(affinity_id(2), OVER), (affinity_id(3), OVER)],
    ]
    .concat();
    store.touch_affinity(&ages).await.unwrap();
    let touched = find(store, 1).await.unwrap();
    assert!(touched.last_active_at_ms > before);
    let idle = u64::try_from(LONG.as_millis()).unwrap();
    assert_eq!(touched.expires_at_ms - touched.last_active_at_ms, idle);
    assert_eq!(active_at(2).await, since, "not held");
    assert_eq!(find(store, 3).await, None, "never created");
    store.touch_affinity(&[]).await.unwrap();

    assert_eq!(store.sweep_affinity(10).await.unwrap(), 0);
    assert!(
        store
            .release_affinity(&affinity_id(2), preparing, "x")
            .await
            .unwrap()
    );
    for seed in 10..15 {
        hold_idle(store, seed, OVER).await;
    }
    assert_eq!(store.sweep_affinity(3).await.unwrap(), 3);
    assert_eq!(store.sweep_affinity(10).await.unwrap(), 2);
    touch(10, OVER).await.unwrap();
    assert_eq!(find(store, 10).await, None, "removed for good");
    assert!(find(store, 1).await.is_some());
    // The epoch of a removed record is not repeated.
    let last = claimed(store, &short_claim(20)).await;
    assert_eq!(store.sweep_affinity(10).await.unwrap(), 1);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(claimed(store, &short_claim(20)).await > last);

    // Activity that is reported late revives a record that was not removed yet.
    let second = Duration::from_secs(1);
    let late = hold_idle(store, 30, second).await;
    tokio::time::sleep(second + second / 20).await;
    assert_eq!(find(store, 30).await, None);
    touch(30, OVER).await.unwrap();
    assert_eq!(find(store, 30).await.unwrap().epoch, late);
}

fn short_claim(seed: u32) -> AffinityClaim<'static> {
    AffinityClaim {
        ttl: OVER,
        ..affinity_claim(seed, "r1")
    }
}

async fn hold_idle(store: &impl AffinityStore, seed: u32, idle: Duration) -> u64 {
    let epoch = claimed(store, &affinity_claim(seed, "r1")).await;
    let (id, target) = (affinity_id(seed), affinity_target("engine-0"));
    let held = store.hold_affinity(&id, epoch, "r1", &target, idle).await;
    assert!(held.unwrap());
    epoch
}
