//! Replicas that share a capacity ledger in Redis: a limit holds over all of them even when a replica or Redis fails.

use crate::site::{Answer, Site, eventually};
use berth_databases::Redis;
use berth_engine_sim::{Document, Options};
use futures_util::future::join_all;
use serde_json::json;

/// Starts `count` replicas on one store and one ledger. A session may have any number of streams.
pub(crate) async fn start_replicas(count: usize, redis: &str, more: &str) -> Vec<Site> {
    // A busy machine may stall a replica for seconds. Most of these tests are not about expiry, so the times are long.
    let yaml = format!(
        "session: {{ cookie: {{ secure: false }}, cache: 60s }}
probe: {{ interval: 500ms, timeout: 5s }}
placement:
  deadline: 60s
  engine_timeout: 20s
  reservation_ttl: 10m
  max_streams_per_session: 0
  ledger: {{ kind: redis, url: {{ inline: \"{redis}\" }}, timeout: 5s, sync: 100ms, lease: 8s }}
{more}"
    );
    let first = Site::start(&yaml).await;
    let mut sites = vec![first];
    for _ in 1..count {
        let site = sites[0].start_replica(&yaml).await;
        sites.push(site);
    }
    for site in &sites {
        eventually("the service is ready", async || {
            site.get("/health/ready", "").await.status == 200
        })
        .await;
    }
    sites
}

/// A pool `p` with one engine `e` that reports no sessions and has this limit, and a pool `free` with the same engine
/// and no limit.
async fn pool_without_metrics(limit: u32) -> (String, tokio::net::TcpListener) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pool = |name, more| {
        format!(
            "  - {{ name: {name}, driver: websocket, cluster: c, {more} discovery: {{ static: [ {{ name: e, ip: 127.0.0.1, port: {port} }} ] }} }}\n"
        )
    };
    let limited = pool("p", format!("capacity: {{ per_engine: {limit} }},"));
    let free = pool("free", String::new());
    let yaml = format!(
        "pools:\n{limited}{free}routes: [ {{ path: /p, pool: p }}, {{ path: /free, pool: free }} ]\n"
    );
    (yaml, listener)
}

pub(crate) async fn request_placement(site: &Site, session: &str, path: &str) -> Answer {
    let body = json!({"session": session, "method": "GET", "path": path, "host": "h"});
    site.post_json("/v1/placements", body).await
}

/// Places a stream. Returns its name.
async fn place_stream(site: &Site, session: &str) -> String {
    let answer = request_placement(site, session, "/p").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["stream"].as_str().unwrap().to_owned()
}

async fn assert_full(site: &Site, session: &str) {
    let answer = request_placement(site, session, "/p").await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "engines-full")
    );
}

/// Retries until a placement succeeds. Each refusal before that must have one of these reasons.
async fn place_eventually(site: &Site, session: &str, reasons: &[&str]) {
    eventually("there is room", async || {
        let answer = request_placement(site, session, "/p").await;
        if answer.status != 200 {
            let reason = answer.reason();
            assert!(reasons.contains(&reason.as_str()), "{answer:?}");
        }
        answer.status == 200
    })
    .await;
}

async fn send_report(site: &Site, gateway: &str, mut report: serde_json::Value) {
    report["sequence"] = json!(1);
    let path = format!("/v1/gateways/{gateway}/events");
    let answer = site.post_json(&path, report).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn the_limit_holds_for_a_thousand_concurrent_placements_over_three_replicas() {
    let redis = Redis::shared().await.unwrap();
    let engine = berth_engine_sim::start(Options {
        documents: vec![Document::new("sales.qvf", 100)],
        ..Options::default()
    });
    let engine = engine.await.unwrap();
    let yaml = format!(
        "pools: [ {{ name: p, driver: qix, cluster: c, capacity: {{ per_engine: 500 }}, engine_session_ttl: 20m,
          discovery: {{ static: [ {{ name: e, ip: 127.0.0.1, port: {}, metrics_port: {} }} ] }} }} ]
routes: [ {{ path: \"/app/{{document}}\", pool: p, open: {{ document: \"{{document}}\" }} }} ]\n",
        engine.api_addr().port(),
        engine.metrics_addr().port()
    );
    let sites = start_replicas(3, &redis.database(), &yaml).await;
    let session = sites[0].login().await;
    let all = (0..1000).map(|n| request_placement(&sites[n % 3], &session, "/app/sales.qvf"));
    let answers = join_all(all).await;
    let succeeded = answers.iter().filter(|a| a.status == 200).count();
    let refused: Vec<_> = answers.iter().filter(|a| a.status != 200).collect();
    assert_eq!(succeeded, 500, "{:?}", refused.first());
    for answer in refused {
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "engines-full")
        );
    }
    let stats = engine.stats();
    assert_eq!((stats.sessions, stats.created_total), (500, 500));
    let each = answers.iter().enumerate().filter(|(_, a)| a.status == 200);
    assert!(
        each.map(|(n, _)| n % 3)
            .collect::<std::collections::BTreeSet<_>>()
            .len()
            == 3
    );
}

#[tokio::test]
async fn placements_of_a_lost_replica_expire_unless_another_replica_has_taken_them_over() {
    let redis = Redis::shared().await.unwrap();
    let (yaml, _engine) = pool_without_metrics(3).await;
    let mut sites = start_replicas(3, &redis.database(), &yaml).await;
    let session = sites[0].login().await;
    let session_ref = sites[0].session_ref(&session).await;
    let stays = place_stream(&sites[0], &session).await;
    place_stream(&sites[0], &session).await;
    place_stream(&sites[1], &session).await;
    for site in &sites {
        assert_full(site, &session).await;
    }
    // The gateway of the first replica reports to the last replica.
    let opened = json!({"stream": stays, "session_ref": session_ref, "pool": "p", "engine": "e",
        "opened_at": 1_700_000_000});
    send_report(&sites[2], "g", json!({ "opened": [opened] })).await;
    for site in &sites {
        assert_full(site, &session).await;
    }
    let gone = sites.remove(0);
    let _store = gone.shut_down().await;
    // One of its two placements has expired, and the other one has moved.
    place_eventually(&sites[0], &session, &["engines-full"]).await;
    for site in &sites {
        assert_full(site, &session).await;
    }
    // The stream closes, and the report goes to a replica that never had it.
    let closed = json!({"stream": stays, "reason": "ended", "duration_ms": 1});
    send_report(&sites[0], "h", json!({ "closed": [closed] })).await;
    place_eventually(&sites[1], &session, &["engines-full"]).await;
    for site in &sites {
        assert_full(site, &session).await;
    }
}

#[tokio::test]
async fn limits_hold_while_the_ledger_is_down_and_after_it_returns_empty() {
    let mut redis = Redis::start().await.unwrap();
    let url = redis.database();
    let (yaml, _engine) = pool_without_metrics(3).await;
    let sites = start_replicas(2, &url, &yaml).await;
    let session = sites[0].login().await;
    place_stream(&sites[0], &session).await;
    place_stream(&sites[1], &session).await;
    redis.kill();
    for site in &sites {
        let answer = request_placement(site, &session, "/p").await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "store-down")
        );
        assert_eq!(answer.header("retry-after"), "1");
        // A pool without a limit does not need the ledger.
        assert_eq!(request_placement(site, &session, "/free").await.status, 200);
        eventually("the loss is counted", async || {
            site.metric("berth_ledger_failures_total ").await == 1
        })
        .await;
        assert_eq!(site.metric("berth_ledger_up ").await, 0);
    }
    redis.restart().await.unwrap();
    let waits = ["store-down"];
    place_eventually(&sites[0], &session, &waits).await;
    for site in &sites {
        eventually("the ledger is up", async || {
            site.metric("berth_ledger_up ").await == 1
        })
        .await;
        assert_full(site, &session).await;
    }
    // The ledger loses all its data.
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = redis::cmd("FLUSHDB")
        .query_async(&mut direct)
        .await
        .unwrap();
    eventually("it is full again", async || {
        let answer = request_placement(&sites[1], &session, "/p").await;
        assert_eq!(answer.status, 503, "{answer:?}");
        answer.reason() == "engines-full" && sites[1].metric("berth_ledger_replicas ").await == 2
    })
    .await;
}
