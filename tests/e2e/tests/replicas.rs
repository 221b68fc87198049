//! Three replicas of the service behind Envoy, with one ledger in Redis.

#![allow(clippy::indexing_slicing, reason = "a test's own steps may fail it")]

use berth_databases::Redis;
use berth_harness::{Call, Result, Stack, wait};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const CLIENTS: u32 = 6;
const SOCKETS: u32 = 120;

/// Replicas that have streams in the ledger.
async fn holders(redis: &mut redis::aio::MultiplexedConnection) -> Option<usize> {
    let keys = redis::cmd("KEYS")
        .arg("{berth}:ledger:streams:*")
        .query_async(redis)
        .await;
    keys.ok().map(|keys: Vec<String>| keys.len())
}

#[tokio::test]
async fn a_replica_that_is_killed_under_load_costs_next_to_nobody_his_placement() -> Result<()> {
    let redis = Redis::shared().await?;
    let url = redis.database();
    let stack = Stack::builder()
        .engines(2)
        .services(3)
        .envoy_concurrency(2)
        // A limit, so that the ledger is asked; far away, as this is not about room: an engine session outlives its
        // client, and what is just being closed, moved and probed counts twice rather than not at all.
        .pool(&json!({"capacity": {"per_engine": 4000}}))
        .service_config(&json!({
            "store": {"kind": "redis", "url": {"inline": url}, "timeout": "10s"},
            "placement": {"ledger": {"kind": "redis", "url": {"inline": url}, "lease": "2s", "sync": "100ms"}},
        }));
    let mut stack = stack.start().await?;
    let addrs: Vec<_> = stack
        .service
        .iter()
        .chain(&stack.replicas)
        .map(|s| s.addr)
        .collect();
    for addr in &addrs {
        let ready = || async {
            let reply = Call::get("/health/ready").send(*addr).await.ok()?;
            (reply.status == 200).then_some(())
        };
        wait::until("the replica to be ready", PATIENCE, ready).await?;
    }
    let cookie = stack.login_demo().await?;
    let http = stack.http();
    let (done, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (done, failed, cookie) = (done.clone(), failed.clone(), cookie.clone());
            tokio::spawn(async move {
                for _ in 0..SOCKETS {
                    let headers = [("cookie", cookie.as_str())];
                    let upgrade =
                        berth_harness::WebSocket::upgrade(http, "/app/sales.qvf", &headers).await;
                    if let Err(error) = upgrade.and_then(|upgrade| upgrade.open()) {
                        println!("{error}");
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let all = CLIENTS * SOCKETS;
    let third = || async { (done.load(Ordering::SeqCst) > all / 3).then_some(()) };
    wait::until("a third of the placements", 4 * PATIENCE, third).await?;
    let client = redis::Client::open(url.as_str())?;
    let mut direct = client.get_multiplexed_async_connection().await?;
    let was_counted = holders(&mut direct).await.unwrap_or(0);
    stack.replicas[0].kill();
    for client in clients {
        client.await?;
    }
    let began = Instant::now();
    let failed = failed.load(Ordering::SeqCst);
    println!("{failed} of {all} failed");
    assert!(failed * 100 < all, "{failed} of {all} failed");
    assert!(was_counted > 0, "the ledger was not asked");
    // All sockets are closed: what the dead replica had has lapsed, or has moved and was closed elsewhere.
    loop {
        let left =
            || async { holders(&mut client.get_multiplexed_async_connection().await.ok()?).await };
        if left().await == Some(0) {
            return Ok(());
        }
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "the ledger still counts what is gone"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
