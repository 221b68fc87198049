//! Engines that misbehave, and what clients notice of it.

use crate::site::{Site, SiteOptions, eventually};
use berth_api::RejectReason;
use berth_engine_sim::{Faults, WrongJson};
use berth_scheduler::engine::State;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The interval is longer than a test, so only placements detect faults.
const NO_PROBES: &str = "probe: { interval: 60s }";
/// Probes that detect faults within the time of a test.
const QUICK_PROBES: &str = "probe: { interval: 100ms, timeout: 100ms, failures: 2, successes: 2 }";
const ROUND_ROBIN: &str = "    strategy: round-robin";

async fn start_without_probes() -> Site {
    Site::start(SiteOptions {
        pool: ROUND_ROBIN,
        config: NO_PROBES,
        ..SiteOptions::default()
    })
    .await
}

#[tokio::test]
async fn a_dead_engine_causes_no_client_errors() {
    let mut site = start_without_probes().await;
    site.engines.remove(1).stop().await;
    let start = Instant::now();
    for _ in 0..30 {
        let placed = site.place("/app/sales.qvf").await.unwrap();
        assert_ne!(placed.engine, "engine-1");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    let metrics = site.metrics();
    assert!(
        metrics.contains(r#"outcome="connect"} 1"#),
        "tried once: {metrics}"
    );
}

#[tokio::test]
async fn a_dead_websocket_server_causes_no_client_errors() {
    let mut site = Site::start(SiteOptions {
        driver: "websocket",
        pool: ROUND_ROBIN,
        config: NO_PROBES,
        ..SiteOptions::default()
    })
    .await;
    for n in 0..60 {
        if n == 30 {
            site.engines.remove(1).stop().await;
        }
        let placed = site.place("/app/x").await.unwrap();
        assert!(n < 30 || placed.engine != "engine-1");
    }
}

#[tokio::test]
async fn a_stalled_engine_delays_one_client_by_at_most_a_second_and_no_others() {
    let site = start_without_probes().await;
    site.engines[1].faults().set(|f| f.stall_websocket = true);
    let mut slow = 0;
    let start = Instant::now();
    // This lasts longer than the first back-off: the trial after it must not delay a client either.
    while start.elapsed() < Duration::from_millis(2500) {
        let started_at = Instant::now();
        let placed = site.place("/app/sales.qvf").await.unwrap();
        assert_ne!(placed.engine, "engine-1");
        assert!(started_at.elapsed() < Duration::from_millis(1000));
        slow += u32::from(started_at.elapsed() > Duration::from_millis(500));
    }
    assert_eq!(slow, 1);
    let rehearsed = site.engines[1].stats();
    assert_eq!(rehearsed.sessions, 0);
}

#[tokio::test]
async fn an_ejected_engine_returns_after_its_trial() {
    let site = start_without_probes().await;
    site.engines[1].faults().set(|f| f.refuse = true);
    for _ in 0..6 {
        assert_ne!(
            site.place("/app/sales.qvf").await.unwrap().engine,
            "engine-1"
        );
    }
    site.engines[1].faults().clear();
    let back = async {
        while site.place("/app/sales.qvf").await.unwrap().engine != "engine-1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), back).await.unwrap();
    let rehearsals = site.engines[1].upgrades().latest;
    assert!(
        rehearsals[0].path.ends_with("/ttl/0"),
        "the trial leaves no session: {rehearsals:?}"
    );
}

#[tokio::test]
async fn a_flapping_engine_causes_no_client_errors() {
    let site = Site::start(SiteOptions {
        pool: ROUND_ROBIN,
        config: QUICK_PROBES,
        ..SiteOptions::default()
    })
    .await;
    for n in 0..200 {
        let faults = site.engines[0].faults();
        faults.set(|f| f.refuse = n % 10 < 5);
        site.place("/app/sales.qvf").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn when_an_engine_answers_with_a_fault_the_next_one_serves() {
    let faults: [fn(&mut Faults); 4] = [
        |f| f.wrong_frames = true,
        |f| f.no_license = true,
        |f| f.max_sessions = Some(0),
        |f| f.reject_jwt = true,
    ];
    for fault in faults {
        let site = start_without_probes().await;
        site.engines[0].faults().set(fault);
        for _ in 0..6 {
            assert_ne!(
                site.place("/app/sales.qvf").await.unwrap().engine,
                "engine-0"
            );
        }
    }
}

#[tokio::test]
async fn when_every_engine_fails_the_refusal_comes_in_time() {
    let site = start_without_probes().await;
    for engine in &site.engines {
        engine.faults().set(|f| f.stall_websocket = true);
    }
    let start = Instant::now();
    let refusal = site.place("/app/sales.qvf").await.unwrap_err();
    assert_eq!(refusal.reason, RejectReason::EngineFailed);
    assert!(refusal.retry_after_s.is_some());
    assert!(start.elapsed() < Duration::from_millis(3 * 800 + 500));
    // Each engine gets one trial at a time. No other placement waits for a known fault.
    let placements = (0..20).map(|_| async {
        let started_at = Instant::now();
        assert!(site.place("/app/sales.qvf").await.is_err());
        started_at.elapsed() > Duration::from_millis(400)
    });
    let slow = futures_util::future::join_all(placements).await;
    assert!(slow.iter().filter(|slow| **slow).count() <= 3, "{slow:?}");
    assert_eq!(site.count_reserved(), 0);
}

#[tokio::test]
async fn a_slow_document_may_take_the_whole_deadline_and_ejects_no_engine() {
    let site = Site::start(SiteOptions {
        engines: 1,
        config: "placement: { deadline: 2s }",
        ..SiteOptions::default()
    })
    .await;
    site.engines[0].faults().set(|f| f.slow_open_ms = 1200);
    site.place("/app/sales.qvf").await.unwrap();
    site.engines[0].faults().set(|f| f.slow_open_ms = 5000);
    assert_eq!(
        site.place_error_reason("/app/sales.qvf").await,
        RejectReason::EngineFailed
    );
    site.engines[0].faults().clear();
    site.place("/app/sales.qvf").await.unwrap();
}

#[tokio::test]
async fn the_probe_detects_each_state_and_its_end() {
    let site = Site::start(SiteOptions {
        config: QUICK_PROBES,
        ..SiteOptions::default()
    })
    .await;
    let engine = &site.engines[2];
    type Case = (fn(&mut Faults), State);
    let cases: [Case; 6] = [
        (|f| f.no_metrics = true, State::NoMetrics),
        (|f| f.saturated = true, State::Saturated),
        (|f| f.wrong_json = Some(WrongJson::Junk), State::NoMetrics),
        (|f| f.wrong_json = Some(WrongJson::Types), State::NoMetrics),
        (|f| f.wrong_json = Some(WrongJson::Empty), State::NoMetrics),
        (|f| f.stall = true, State::Unhealthy),
    ];
    for (fault, state) in cases {
        engine.faults().set(fault);
        site.wait_for_state("engine-2", state).await;
        let mut engines = Vec::new();
        for _ in 0..12 {
            engines.push(site.place("/app/sales.qvf").await.unwrap().engine);
        }
        let used = engines.iter().any(|e| e == "engine-2");
        assert_eq!(used, state == State::NoMetrics, "{state:?}");
        engine.faults().clear();
        site.wait_for_state("engine-2", State::Ok).await;
    }
    let metrics = site.metrics();
    let mut failures = metrics
        .lines()
        .filter(|line| line.starts_with("berth_probe_failures_total{"));
    assert!(failures.any(|line| !line.ends_with(" 0")), "{metrics}");
}

#[tokio::test]
async fn a_disconnected_client_releases_its_reservation() {
    let site = Site::start(SiteOptions {
        engines: 1,
        config: NO_PROBES,
        ..SiteOptions::default()
    })
    .await;
    site.engines[0].faults().set(|f| f.slow_open_ms = 1000);
    let mut placing = Box::pin(site.place("/app/sales.qvf"));
    tokio::select! {
        _ = &mut placing => panic!("the document is slow"),
        () = eventually("the engine has a connection", || site.engines[0].stats().sockets == 1) => {}
    }
    assert_eq!(site.count_reserved(), 1);
    drop(placing);
    assert_eq!(site.count_reserved(), 0);
    eventually("the engine has no connection", || {
        site.engines[0].stats().sockets == 0
    })
    .await;
}
