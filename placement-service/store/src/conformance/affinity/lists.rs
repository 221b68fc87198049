//! Affinity records by pool, engine and owner, and those of browser tabs.

use super::{LONG, OVER, affinity_claim, affinity_id, affinity_target, claimed, find, hold};
use crate::{
    AffinityClaim, AffinityKind, AffinityPage, AffinityRecord, AffinityState, AffinityStore,
    ClaimResult, OwnerId, TabAffinity,
};
use std::time::Duration;

/// Checks the pages of a pool and of an engine, and that only held records are listed.
pub async fn affinity_lists(store: &impl AffinityStore) {
    let pages = async |pool: &str, engine: Option<&str>, limit: u32| {
        let mut all: Vec<AffinityRecord> = Vec::new();
        loop {
            let last = all.last().cloned();
            let after = last.as_ref().map(|last| (engine_of(last), last.id));
            let page = AffinityPage {
                kind: AffinityKind::Key,
                pool,
                engine,
                after,
            };
            let found = store.list_affinity(&page, limit).await.unwrap();
            let is_last = found.len() < limit as usize;
            all.extend(found);
            if is_last {
                break;
            }
        }
        let mut seeds: Vec<_> = all.iter().map(|r| u32::from(r.id.0[0])).collect();
        seeds.sort_unstable();
        (all, seeds)
    };
    assert!(pages("apps", None, 10).await.0.is_empty());
    for seed in 0..7 {
        hold(store, seed, &format!("engine-{}", seed % 3)).await;
    }
    hold(store, 7, "engine").await;
    claimed(store, &affinity_claim(8, "r1")).await;
    let released = hold(store, 9, "engine-0").await;
    let released = store.release_affinity(&affinity_id(9), released, "x").await;
    assert!(released.unwrap());
    let replaced = hold(store, 10, "engine-0").await;
    let id = affinity_id(10);
    let replaced = store.replace_affinity(&id, replaced, "r1", LONG).await;
    assert!(replaced.unwrap().is_some());
    put_tabs(store, &[(11, 1, "engine-0", OVER)]).await;

    let seven = (0..8).collect::<Vec<_>>();
    let (all, seeds) = pages("apps", None, 3).await;
    assert_eq!(seeds, seven);
    assert!(all.is_sorted_by(|a, b| engine_of(a) <= engine_of(b)));
    assert_eq!(all[0].state, AffinityState::Held(affinity_target("engine")));
    assert_eq!(pages("apps", None, 100).await.1, seven);
    assert_eq!(pages("apps", Some("engine-0"), 2).await.1, [0, 3, 6]);
    assert_eq!(pages("apps", Some("engine"), 1).await.1, [7]);
    assert!(pages("apps", Some("engine-9"), 2).await.1.is_empty());
    assert!(pages("other", None, 2).await.1.is_empty());
}

fn engine_of(record: &AffinityRecord) -> &str {
    match &record.state {
        AffinityState::Held(target) => &target.engine,
        other => unreachable!("listed: {other:?}"),
    }
}

/// Checks the limit of an owner, its list and its removal.
pub async fn affinity_owners(store: &impl AffinityStore) {
    let owner = OwnerId([1; 32]);
    let of = |owner: OwnerId, seed: u32, max: u32| AffinityClaim {
        owner: Some(owner),
        max_per_owner: Some(max),
        ..affinity_claim(seed, "r1")
    };
    let first = claimed(store, &of(owner, 1, 2)).await;
    let (id, target) = (affinity_id(1), affinity_target("engine-0"));
    let held = store.hold_affinity(&id, first, "r1", &target, LONG).await;
    assert!(held.unwrap());
    let second = claimed(store, &of(owner, 2, 2)).await;
    let third = store.claim_affinity(&of(owner, 3, 2)).await.unwrap();
    assert_eq!(third, ClaimResult::LimitReached);
    assert_eq!(find(store, 3).await, None);
    let own = store.claim_affinity(&of(owner, 1, 2)).await.unwrap();
    assert!(matches!(own, ClaimResult::Held(_)), "counts itself once");
    let own = store.claim_affinity(&of(owner, 1, 1)).await.unwrap();
    assert!(
        matches!(own, ClaimResult::Held(_)),
        "a lower limit takes nothing away"
    );
    claimed(store, &of(OwnerId([2; 32]), 4, 1)).await;
    put_tabs(store, &[(5, 1, "engine-0", OVER)]).await;
    let list = async |kind| {
        let records = store.affinity_of_owner(kind, &owner, 10).await.unwrap();
        let seeds = records.iter().map(|record| record.id.0[0]);
        let mut seeds: Vec<_> = seeds.collect();
        seeds.sort_unstable();
        seeds
    };
    assert_eq!(list(AffinityKind::Key).await, [1, 2]);
    assert_eq!(list(AffinityKind::Tab).await, [5]);
    let one = store.affinity_of_owner(AffinityKind::Key, &owner, 1).await;
    assert_eq!(one.unwrap().len(), 1);

    // What is released or over does not count.
    assert!(
        store
            .release_affinity(&affinity_id(2), second, "x")
            .await
            .unwrap()
    );
    assert_eq!(list(AffinityKind::Key).await, [1]);
    let over = AffinityClaim {
        ttl: OVER,
        ..of(owner, 2, 2)
    };
    claimed(store, &over).await;
    assert_eq!(list(AffinityKind::Key).await, [1]);
    claimed(store, &of(owner, 3, 2)).await;
    assert_eq!(list(AffinityKind::Key).await, [1, 3]);

    let remove = async |kind| store.remove_affinity_of_owner(kind, &owner).await.unwrap();
    assert_eq!(remove(AffinityKind::Key).await, 3);
    assert_eq!(remove(AffinityKind::Key).await, 0);
    assert_eq!(find(store, 1).await, None);
    assert_eq!(list(AffinityKind::Tab).await, [5]);
    assert_eq!(remove(AffinityKind::Tab).await, 1);
    assert!(find(store, 4).await.is_some());
}

/// Writes tabs, each a seed, an owner, an engine and how long ago it was active.
async fn put_tabs(store: &impl AffinityStore, tabs: &[(u32, u8, &str, Duration)]) {
    let tabs = tabs
        .iter()
        .map(|(seed, owner, engine, idle_for)| TabAffinity {
            id: affinity_id(*seed),
            owner: OwnerId([*owner; 32]),
            pool: "apps".to_owned(),
            target: affinity_target(engine),
            idle_for: *idle_for,
            idle: LONG,
        });
    let tabs: Vec<_> = tabs.collect();
    store.put_tab_affinity(&tabs).await.unwrap();
}

/// Checks that the engine of a tab is written without a claim, the later activity last, and expires.
pub async fn tab_affinity(store: &impl AffinityStore) {
    let engine = async |seed| {
        let record = find(store, seed).await?;
        assert_eq!(record.kind, AffinityKind::Tab);
        Some(engine_of(&record).to_owned())
    };
    let second = Duration::from_secs(1);
    put_tabs(store, &[]).await;
    put_tabs(
        store,
        &[(2, 1, "a", second), (1, 1, "a", OVER), (3, 1, "a", LONG)],
    )
    .await;
    assert_eq!(engine(1).await.as_deref(), Some("a"));
    assert_eq!(engine(2).await.as_deref(), Some("a"));
    assert_eq!(engine(3).await, None, "idle for too long");
    let first = find(store, 2).await.unwrap();
    put_tabs(store, &[(2, 1, "b", 2 * second)]).await;
    assert_eq!(engine(2).await.as_deref(), Some("a"), "an earlier activity");
    put_tabs(store, &[(2, 2, "b", OVER), (3, 1, "b", OVER)]).await;
    let second = find(store, 2).await.unwrap();
    assert_eq!(engine(2).await.as_deref(), Some("b"));
    assert_eq!(engine(3).await.as_deref(), Some("b"));
    assert_eq!(second.owner, Some(OwnerId([2; 32])));
    assert!(second.epoch > first.epoch);
    let page = AffinityPage {
        kind: AffinityKind::Tab,
        pool: "apps",
        engine: Some("a"),
        after: None,
    };
    let on_a = store.list_affinity(&page, 10).await.unwrap();
    assert_eq!(
        on_a.iter().map(|record| record.id).collect::<Vec<_>>(),
        [affinity_id(1)]
    );
    // A key's record is not overwritten.
    let epoch = hold(store, 4, "a").await;
    put_tabs(store, &[(4, 1, "b", OVER)]).await;
    let key = find(store, 4).await.unwrap();
    assert_eq!((key.kind, key.epoch), (AffinityKind::Key, epoch));
}
