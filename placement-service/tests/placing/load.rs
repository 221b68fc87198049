//! Concurrent placements: each counts the others before any probe sees them.

use crate::site::{Site, SiteOptions};
use berth_api::RejectReason;
use berth_scheduler::engine::State;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

async fn place_concurrently(site: &Arc<Site>, count: usize) -> BTreeMap<String, u32> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let site = Arc::clone(site);
        tasks.spawn(async move { site.place("/app/sales.qvf").await });
    }
    let mut counts = BTreeMap::new();
    while let Some(placed) = tasks.join_next().await {
        if let Ok(placed) = placed.unwrap() {
            *counts.entry(placed.engine).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_concurrent_placements_spread_evenly_over_four_equal_engines() {
    for pool in [
        "    strategy: round-robin",
        "    strategy: least-load",
        "    strategy: weighted\n    capacity: { per_engine: 120 }",
    ] {
        let site = Site::start(SiteOptions {
            engines: 4,
            pool,
            // Engines, clients and the service share this machine, perhaps with other work, so the timeout is long.
            config: "placement: { engine_timeout: 9s }",
            ..SiteOptions::default()
        })
        .await;
        let counts = place_concurrently(&Arc::new(site), 400).await;
        assert_eq!(counts.values().sum::<u32>(), 400, "{pool}");
        for (engine, count) in counts {
            assert!(count.abs_diff(100) <= 15, "{pool} {engine}: {count}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_capacity_limit_holds_in_a_burst() {
    let site = Site::start(SiteOptions {
        engines: 2,
        pool: "    capacity: { per_engine: 10 }",
        ..SiteOptions::default()
    })
    .await;
    let site = Arc::new(site);
    let counts = place_concurrently(&site, 60).await;
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [10, 10]);
    let refusal = site.place("/app/sales.qvf").await.unwrap_err();
    assert_eq!(refusal.reason, RejectReason::EnginesFull);
    assert_eq!(refusal.retry_after_s, Some(2));
}

#[tokio::test]
async fn without_a_healthy_engine_the_reason_is_not_full() {
    let site = Site::start(SiteOptions {
        engines: 1,
        config: "probe: { interval: 100ms, failures: 1 }",
        ..SiteOptions::default()
    })
    .await;
    site.engines[0].faults().set(|f| f.refuse = true);
    site.wait_for_state("engine-0", State::Unhealthy).await;
    assert_eq!(
        site.place_error_reason("/app/sales.qvf").await,
        RejectReason::NoEngine
    );
}

#[tokio::test]
async fn sessions_that_a_probe_has_seen_no_longer_count_as_reserved() {
    let site = Site::start(SiteOptions {
        engines: 1,
        config: "probe: { interval: 100ms }",
        ..SiteOptions::default()
    })
    .await;
    for _ in 0..5 {
        site.place("/app/sales.qvf").await.unwrap();
    }
    crate::site::eventually("five sessions, none of them twice", || {
        let fleet = site.placer.fleet().snapshot();
        fleet.pools()[0].engines[0].sessions(Instant::now()) == 5 && site.count_reserved() == 0
    })
    .await;
}
