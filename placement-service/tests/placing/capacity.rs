//! How many sessions a pool takes, and the queue of placements that wait for capacity.

use crate::site::{Site, SiteOptions, eventually};
use berth_api::RejectReason;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn read_gauge(site: &Site, name: &str) -> Option<i64> {
    let metrics = site.metrics();
    let start = format!("{name}{{pool=\"main\"}} ");
    let line = metrics.lines().find_map(|l| l.strip_prefix(&start));
    line.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn a_pool_takes_no_more_than_its_capacity_and_reports_the_rest() {
    let site = Site::start(SiteOptions {
        pool: "    capacity: { per_pool: 5, per_engine: 3 }",
        ..SiteOptions::default()
    })
    .await;
    assert_eq!(read_gauge(&site, "berth_pool_available_sessions"), Some(5));
    for left in (0..5).rev() {
        site.place("/app/sales.qvf").await.unwrap();
        assert_eq!(
            read_gauge(&site, "berth_pool_available_sessions"),
            Some(left)
        );
    }
    let refusal = site.place("/app/sales.qvf").await.unwrap_err();
    assert_eq!(refusal.reason, RejectReason::EnginesFull);
    assert!(refusal.detail.unwrap().contains("pool-full"));
    assert_eq!(refusal.retry_after_s, Some(2));
    // Without a queue no placement waits.
    assert_eq!(read_gauge(&site, "berth_placement_queue_length"), Some(0));
}

#[tokio::test]
async fn without_limits_no_available_capacity_is_reported() {
    let site = Site::start(SiteOptions::default()).await;
    assert_eq!(read_gauge(&site, "berth_pool_available_sessions"), None);
}

#[tokio::test]
async fn an_engine_short_of_memory_gets_no_session() {
    let site = Site::start(SiteOptions {
        engines: 2,
        pool: "    capacity: { memory_floor_mb: 500 }",
        options: |o| {
            if o.name == "engine-0" {
                o.memory_mb = o.base_mb + 400;
            }
        },
        ..SiteOptions::default()
    })
    .await;
    for _ in 0..6 {
        assert_eq!(
            site.place("/app/sales.qvf").await.unwrap().engine,
            "engine-1"
        );
    }
    let mut two = site.placer.fleet().snapshot().pools()[0].engines.to_vec();
    two.retain(|e| e.name.as_str() == "engine-1");
    two[0].accounting.set_draining(true);
    assert_eq!(
        site.place_error_reason("/app/sales.qvf").await,
        RejectReason::EnginesFull
    );
}

const ONE_SESSION_EACH: &str =
    "    capacity: { per_engine: 1 }\n    queue: { max_length: 2, timeout: 60s }";

/// Starts engines with a capacity of one session each. A session lasts one second.
async fn start_small_site(engines: usize, waiting: &'static str) -> Arc<Site> {
    let site = Site::start(SiteOptions {
        engines,
        pool: waiting,
        config: "probe: { interval: 100ms }\nplacement: { deadline: 60s, engine_timeout: 9s }",
        options: |o| o.max_session_ttl = 1,
        ..SiteOptions::default()
    })
    .await;
    Arc::new(site)
}

#[tokio::test]
async fn the_queue_serves_placements_in_order_and_a_cancelled_one_leaves_it() {
    let site = start_small_site(1, ONE_SESSION_EACH).await;
    site.place("/app/sales.qvf").await.unwrap();
    let wait = |site: &Arc<Site>| {
        let site = Arc::clone(site);
        tokio::spawn(async move {
            let placed = site.place("/app/sales.qvf").await;
            (Instant::now(), placed)
        })
    };
    let first = wait(&site);
    eventually("one waits", || {
        read_gauge(&site, "berth_placement_queue_length") == Some(1)
    })
    .await;
    let leaves = wait(&site);
    eventually("two wait", || {
        read_gauge(&site, "berth_placement_queue_length") == Some(2)
    })
    .await;
    // A third placement is refused at once.
    let started_at = Instant::now();
    let refusal = site.place("/app/sales.qvf").await.unwrap_err();
    assert_eq!(refusal.reason, RejectReason::EnginesFull);
    assert!(refusal.detail.unwrap().contains("queue is full"));
    assert!(started_at.elapsed() < Duration::from_secs(1) && refusal.retry_after_s.is_some());
    leaves.abort();
    eventually("one has left", || {
        read_gauge(&site, "berth_placement_queue_length") == Some(1)
    })
    .await;
    let second = wait(&site);
    let (first_at, first) = first.await.unwrap();
    let (second_at, second) = second.await.unwrap();
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert!(first_at < second_at);
    assert_eq!(read_gauge(&site, "berth_placement_queue_length"), Some(0));
    let engine = &site.engines[0];
    assert_eq!(engine.stats().created_total, 3, "never two at once");
}

#[tokio::test]
async fn a_placement_that_met_a_failed_engine_waits_for_the_others() {
    let site = start_small_site(2, ONE_SESSION_EACH).await;
    let full = site.place("/app/sales.qvf").await.unwrap().engine;
    let other = usize::from(full == "engine-0");
    site.engines[other].faults().set(|f| f.refuse = true);
    let placed = site.place("/app/sales.qvf").await.unwrap();
    assert_eq!(placed.engine, full, "its session has ended by then");
    let failed = site.metrics();
    let failed = failed
        .lines()
        .find(|l| l.starts_with("berth_placement_attempts_total{") && !l.contains("\"ok\""));
    assert!(failed.is_some(), "{failed:?}");
}

#[tokio::test]
async fn no_placement_waits_longer_than_the_queue_timeout() {
    let site = Site::start(SiteOptions {
        engines: 1,
        pool: "    capacity: { per_engine: 1 }\n    queue: { max_length: 9, timeout: 300ms }",
        ..SiteOptions::default()
    })
    .await;
    site.place("/app/sales.qvf").await.unwrap();
    let started_at = Instant::now();
    let both = tokio::join!(site.place("/app/sales.qvf"), site.place("/app/sales.qvf"));
    assert!(started_at.elapsed() >= Duration::from_millis(300));
    for refused in [both.0, both.1] {
        assert_eq!(refused.unwrap_err().reason, RejectReason::EnginesFull);
    }
    assert_eq!(read_gauge(&site, "berth_placement_queue_length"), Some(0));
}
