//! Concurrent steps of several replicas on affinity records.

use super::{LONG, OVER, affinity_claim, affinity_id, affinity_target, claimed, hold};
use crate::{AffinityClaim, AffinityStore, ClaimResult, OwnerId};
use futures_util::future::{join, join_all};
use std::time::Duration;

const CALLERS: u32 = 200;
const IDLE: Duration = LONG;

/// Of 200 concurrent claims of one key exactly one succeeds: on an absent record, on one whose claimer has died, and on
/// a released one. Of 200 replacements, too.
pub async fn affinity_claim_race(store: &impl AffinityStore) {
    let names: Vec<String> = (0..CALLERS).map(|number| number.to_string()).collect();
    let winner = async || {
        let claims = names.iter().map(|name| async move {
            let result = store
                .claim_affinity(&affinity_claim(1, name))
                .await
                .unwrap();
            (name, result)
        });
        let mut won = Vec::new();
        for (name, result) in join_all(claims).await {
            match result {
                ClaimResult::Claimed { epoch } => won.push((name, epoch)),
                ClaimResult::Preparing { .. } => {}
                other => unreachable!("{other:?}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        won[0]
    };
    let id = affinity_id(1);
    let (name, first) = winner().await;
    let target = affinity_target("a");
    assert!(
        store
            .hold_affinity(&id, first, name, &target, OVER)
            .await
            .unwrap()
    );
    let (name, second) = winner().await;
    assert_eq!(second, first + 1);
    assert!(
        store
            .hold_affinity(&id, second, name, &target, IDLE)
            .await
            .unwrap()
    );
    let replacements = names
        .iter()
        .map(|name| store.replace_affinity(&id, second, name, OVER));
    let replaced = join_all(replacements).await.into_iter();
    let replaced: Vec<_> = replaced.filter_map(Result::unwrap).collect();
    assert_eq!(replaced, [second + 1]);
    let (name, third) = winner().await;
    assert_eq!(third, second + 2, "the replacing replica has died");
    assert!(
        !store
            .hold_affinity(&id, second + 1, name, &target, IDLE)
            .await
            .unwrap()
    );
    assert!(
        store
            .hold_affinity(&id, third, name, &target, IDLE)
            .await
            .unwrap()
    );
    assert!(store.release_affinity(&id, third, "x").await.unwrap());
    assert_eq!(winner().await.1, third + 1);
}

/// The limit of an owner holds under concurrent claims of different keys.
pub async fn affinity_limit_race(store: &impl AffinityStore) {
    let claims = (0..CALLERS).map(|seed| async move {
        let claim = AffinityClaim {
            owner: Some(OwnerId([1; 32])),
            max_per_owner: Some(3),
            ..affinity_claim(seed, "r1")
        };
        store.claim_affinity(&claim).await.unwrap()
    });
    let results = join_all(claims).await;
    let won = results.iter();
    let won = won.filter(|result| matches!(result, ClaimResult::Claimed { .. }));
    assert_eq!(won.count(), 3);
}

/// A hold that comes late loses against the claim that overtakes it, whichever order the store sees.
pub async fn affinity_late_hold_race(store: &impl AffinityStore) {
    let target = affinity_target("a");
    for seed in 0..50 {
        let id = affinity_id(seed);
        let late = AffinityClaim {
            ttl: OVER,
            ..affinity_claim(seed, "dead")
        };
        let epoch = claimed(store, &late).await;
        let late = store.hold_affinity(&id, epoch, "dead", &target, LONG);
        let next = affinity_claim(seed, "next");
        let (late, next) = join(late, store.claim_affinity(&next)).await;
        assert!(!late.unwrap(), "held after the deadline");
        assert_eq!(next, Ok(ClaimResult::Claimed { epoch: epoch + 1 }));
        let held = store.hold_affinity(&id, epoch + 1, "next", &target, LONG);
        assert!(held.await.unwrap());
    }
}

/// A sweep does not remove a record that was just touched, and no step waits for another one forever.
pub async fn affinity_sweep_race(store: &impl AffinityStore) {
    const ROWS: u32 = 40;
    for seed in 0..ROWS {
        hold(store, seed, "a").await;
    }
    let short = Duration::from_millis(300);
    let target = affinity_target("a");
    for seed in ROWS..2 * ROWS {
        let epoch = claimed(store, &affinity_claim(seed, "r1")).await;
        let id = affinity_id(seed);
        assert!(
            store
                .hold_affinity(&id, epoch, "r1", &target, short)
                .await
                .unwrap()
        );
    }
    let forward: Vec<_> = (0..2 * ROWS)
        .map(|seed| (affinity_id(seed), OVER))
        .collect();
    let backwards: Vec<_> = forward.iter().copied().rev().collect();
    let end = tokio::time::Instant::now() + 2 * short;
    while tokio::time::Instant::now() < end {
        let touches = join(
            store.touch_affinity(&forward),
            store.touch_affinity(&backwards),
        );
        let sweeps = join(store.sweep_affinity(100), store.sweep_affinity(7));
        let ((one, two), (first, second)) = join(touches, sweeps).await;
        one.unwrap();
        two.unwrap();
        assert_eq!((first, second), (Ok(0), Ok(0)));
    }
    for (id, _) in &forward {
        assert!(store.find_affinity(id).await.unwrap().is_some());
    }
    tokio::time::sleep(2 * short).await;
    assert_eq!(store.sweep_affinity(1_000).await, Ok(u64::from(ROWS)));
}
