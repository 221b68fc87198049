//! Replicas that share a capacity ledger in Redis probe each engine once, and balance on what they learn.

use crate::ledger::{request_placement, start_replicas};
use crate::site::{Site, eventually};
use berth_databases::Redis;
use berth_engine_sim::{Document, Engine, Options};
use futures_util::future::join_all;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(500);

/// Indices of the replicas that probe.
async fn find_probers(sites: &[Site]) -> Vec<usize> {
    let mut probers = Vec::new();
    for (n, site) in sites.iter().enumerate() {
        if site.metric("berth_ledger_prober ").await == 1 {
            probers.push(n);
        }
    }
    probers
}

async fn reported_sessions(site: &Site) -> u64 {
    site.metric("berth_engine_sessions{pool=\"p\",engine=\"e\"} ")
        .await
}

async fn assert_single_prober(engine: &Engine, sites: &[Site]) {
    eventually("one probes", async || find_probers(sites).await.len() == 1).await;
    let (started_at, before) = (Instant::now(), engine.stats().healthchecks_total);
    eventually("it goes on", async || {
        engine.stats().healthchecks_total >= before + 10
    })
    .await;
    let hits = engine.stats().healthchecks_total - before;
    // Jitter shortens the interval by at most a tenth, and one probe may have been due at once.
    let max_hits = started_at.elapsed().div_duration_f64(INTERVAL.mul_f64(0.9)) + 2.0;
    assert!(
        (hits as f64) <= max_hits,
        "{hits} in {:?}",
        started_at.elapsed()
    );
}

#[tokio::test]
async fn one_replica_probes_for_all_and_another_takes_over_when_it_is_gone() {
    let redis = Redis::shared().await.unwrap();
    let engine: Engine = berth_engine_sim::start(Options {
        documents: vec![Document::new("sales.qvf", 100)],
        ..Options::default()
    })
    .await
    .unwrap();
    let yaml = format!(
        "pools: [ {{ name: p, driver: qix, cluster: c, engine_session_ttl: 20m,
          discovery: {{ static: [ {{ name: e, ip: 127.0.0.1, port: {}, metrics_port: {} }} ] }} }} ]
routes: [ {{ path: \"/app/{{document}}\", pool: p, open: {{ document: \"{{document}}\" }} }} ]\n",
        engine.api_addr().port(),
        engine.metrics_addr().port()
    );
    let mut sites = start_replicas(3, &redis.database(), &yaml).await;
    let session = sites[0].login().await;
    assert_single_prober(&engine, &sites).await;
    for count in 1..=2 {
        let answer = request_placement(&sites[0], &session, "/app/sales.qvf").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for site in &sites {
            eventually("all replicas know", async || {
                reported_sessions(site).await == count
            })
            .await;
        }
    }
    let prober = sites.remove(find_probers(&sites).await[0]);
    let _store = prober.shut_down().await;
    assert_single_prober(&engine, &sites).await;
    let answer = request_placement(&sites[0], &session, "/app/sales.qvf").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for site in &sites {
        eventually("all replicas know", async || {
            reported_sessions(site).await == 3
        })
        .await;
    }
}

/// Sum of the sessions on all engines, as one replica counts them.
async fn total_reported_sessions(site: &Site) -> u64 {
    let metrics = site.get("/metrics", "").await.text;
    let of_an_engine = |line: &str| {
        let (_, value) = line
            .strip_prefix("berth_engine_sessions{")?
            .rsplit_once(' ')?;
        value.parse::<u64>().ok()
    };
    metrics.lines().filter_map(of_an_engine).sum()
}

/// Load of the fullest of ten engines relative to the mean, after 1,000 placements in waves of 50. Between waves the
/// replicas exchange their placements; how long that takes depends on the machine and is not part of the comparison.
async fn measure_imbalance(count: usize) -> f64 {
    const ENGINES: usize = 10;
    let redis = Redis::shared().await.unwrap();
    let (mut listeners, mut list) = (Vec::new(), String::new());
    for n in 0..ENGINES {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        list += &format!("{{ name: e{n}, ip: 127.0.0.1, port: {port} }}, ");
        listeners.push(listener);
    }
    let yaml = format!(
        "pools: [ {{ name: p, driver: websocket, cluster: c, discovery: {{ static: [ {list} ] }} }} ]
routes: [ {{ path: /p, pool: p }} ]\n"
    );
    let sites = start_replicas(count, &redis.database(), &yaml).await;
    let session = sites[0].login().await;
    let mut engines = std::collections::BTreeMap::new();
    for wave in 0..20 {
        // The replicas get unequal shares.
        let all =
            (0..50).map(|n| request_placement(&sites[(n * n + wave) % count], &session, "/p"));
        for answer in join_all(all).await {
            assert_eq!(answer.status, 200, "{answer:?}");
            let engine = answer.json()["engine"].as_str().unwrap().to_owned();
            *engines.entry(engine).or_insert(0_u32) += 1;
        }
        let placed = 50 * (wave as u64 + 1);
        for site in &sites {
            eventually("all replicas know of the wave", async || {
                total_reported_sessions(site).await == placed
            })
            .await;
        }
    }
    let fullest = engines.values().max().copied().unwrap();
    f64::from(fullest) / 100.0
}

#[tokio::test]
async fn three_replicas_balance_as_well_as_one() {
    let (one, three) = (measure_imbalance(1).await, measure_imbalance(3).await);
    println!("fullest engine over the mean: one replica {one:.3}, three {three:.3}");
    assert!(three <= 1.1 * one, "one {one:.3}, three {three:.3}");
}
