//! Three replicas of the service behind Envoy, with one shared ledger in Redis.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_databases::Redis;
use berth_harness::client::Upgrade;
use berth_harness::{Call, Result, Stack, WebSocket, wait};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(30);
const CLIENTS: u32 = 6;
const SOCKETS: u32 = 120;

/// Number of replicas that have streams in the ledger.
async fn replicas_with_streams(redis: &mut redis::aio::MultiplexedConnection) -> Option<usize> {
    let keys = redis::cmd("KEYS")
        .arg("{berth}:ledger:streams:*")
        .query_async(redis)
        .await;
    keys.ok().map(|keys: Vec<String>| keys.len())
}

/// A stack with three replicas that share a ledger. `ttl`: how long engine sessions outlive their sockets.
async fn start_replicas(
    url: &str,
    engines: usize,
    per_engine: u32,
    lease: &str,
    ttl: &str,
) -> Result<Stack> {
    let ledger = json!({"kind": "redis", "url": {"inline": url}, "lease": lease, "sync": "100ms"});
    let stack = Stack::builder()
        .engines(engines)
        .services(3)
        .envoy_concurrency(2)
        .pool(&json!({"capacity": {"per_engine": per_engine}, "engine_session_ttl": ttl}))
        .service_config(&json!({
            "store": {"kind": "redis", "url": {"inline": url}, "timeout": "10s"},
            // One session opens all sockets faster than the gateways report their ends.
            "placement": {"ledger": ledger, "max_streams_per_session": 0},
        }))
        .start()
        .await?;
    for service in stack.service.iter().chain(&stack.replicas) {
        let ready = || async {
            let reply = Call::get("/health/ready").send(service.addr).await.ok()?;
            (reply.status == 200).then_some(())
        };
        wait::poll_until("the replica to be ready", TIMEOUT, ready).await?;
    }
    Ok(stack)
}

/// Number of full syncs that replicas have requested from gateways.
async fn resync_count(stack: &Stack) -> Result<u32> {
    let mut all = 0;
    for service in stack.service.iter().chain(&stack.replicas) {
        let text = Call::get("/metrics").send(service.addr).await?.text();
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("berth_gateway_resyncs_total "));
        all += count.map_or(Ok(0), str::parse::<u32>)?;
    }
    Ok(all)
}

#[tokio::test]
async fn a_killed_replica_fails_fewer_than_one_percent_of_placements() -> Result<()> {
    let redis = Redis::shared().await?;
    let url = redis.database();
    // A limit, so that the ledger is used. It is high, because this test is not about capacity: an engine session
    // outlives its client, and sessions that are closing, transferred or probed are counted twice rather than not at
    // all.
    let mut stack = start_replicas(&url, 2, 4000, "2s", "2s").await?;
    let cookie = stack.login_demo().await?;
    let http = stack.address();
    let (done, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (done, failed, cookie) = (done.clone(), failed.clone(), cookie.clone());
            tokio::spawn(async move {
                for _ in 0..SOCKETS {
                    let headers = [("cookie", cookie.as_str())];
                    let upgrade = WebSocket::upgrade(http, "/app/sales.qvf", &headers).await;
                    if let Err(error) = upgrade.and_then(|upgrade| upgrade.into_socket()) {
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
    wait::poll_until("a third of the placements", 4 * TIMEOUT, third).await?;
    let client = redis::Client::open(url.as_str())?;
    let mut direct = client.get_multiplexed_async_connection().await?;
    let was_counted = replicas_with_streams(&mut direct).await.unwrap_or(0);
    // The gateway of each worker uses one replica, which requests no full sync except for the worker's first report.
    let resyncs = resync_count(&stack).await?;
    assert!(resyncs <= 2, "{resyncs} full syncs");
    stack.replicas[0].kill();
    for client in clients {
        client.await?;
    }
    let started_at = Instant::now();
    let failed = failed.load(Ordering::SeqCst);
    println!("{failed} of {all} failed");
    assert!(failed * 100 < all, "{failed} of {all} failed");
    assert!(was_counted > 0, "the ledger was not used");
    // All sockets are closed, and their engine sessions end soon. The streams of the dead replica have expired, or were transferred and closed on another
    // replica.
    loop {
        let left = || async {
            replicas_with_streams(&mut client.get_multiplexed_async_connection().await.ok()?).await
        };
        if left().await == Some(0) {
            return Ok(());
        }
        assert!(
            started_at.elapsed() < 2 * TIMEOUT,
            "the ledger still counts closed streams"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_replica_killed_while_an_engine_fills_never_exceeds_its_capacity() -> Result<()> {
    const ROOM: usize = 90;
    let redis = Redis::shared().await?;
    // An unused prepared session ends after 10 s on the engine, which is before its capacity is released.
    let mut stack = start_replicas(&redis.database(), 1, ROOM as u32, "12s", "60s").await?;
    let cookie = stack.login_demo().await?;
    let to = stack.address();
    let engine = stack.engines.remove(0);
    let held = Arc::new(AtomicU32::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (held, cookie) = (Arc::clone(&held), cookie.clone());
        clients.spawn(async move { fill_engine(to, &cookie, &held, ROOM as u32).await });
    }
    let third = || async { (held.load(Ordering::SeqCst) > ROOM as u32 / 3).then_some(()) };
    wait::poll_until("a third of the sockets", TIMEOUT, third).await?;
    stack.replicas[0].kill();
    let mut most = 0;
    let mut sockets = Vec::new();
    while !clients.is_empty() {
        let looked = engine.stats().await?;
        most = most.max(looked.sessions);
        assert!(
            most <= ROOM,
            "{most} sessions on an engine with capacity {ROOM}"
        );
        if let Ok(Some(filled)) = timeout(Duration::from_millis(20), clients.join_next()).await {
            sockets.extend(filled??);
        }
    }
    let stats = engine.stats().await?;
    println!(
        "{} sessions were made for {ROOM} sockets",
        stats.created_total
    );
    assert_eq!(
        (sockets.len(), stats.sockets, stats.sessions),
        (ROOM, ROOM, ROOM)
    );
    Ok(())
}

/// Opens sockets until all clients together hold `all`. A rejected upgrade is repeated.
async fn fill_engine(
    to: SocketAddr,
    cookie: &str,
    held: &AtomicU32,
    all: u32,
) -> Result<Vec<WebSocket>> {
    let mut sockets = Vec::new();
    let until = Instant::now() + 3 * TIMEOUT;
    while held.load(Ordering::SeqCst) < all {
        match WebSocket::upgrade(to, "/app/sales.qvf", &[("cookie", cookie)]).await? {
            Upgrade::Open(mut socket) => {
                socket.next_message().await?;
                held.fetch_add(1, Ordering::SeqCst);
                sockets.push(*socket);
            }
            Upgrade::Rejected(reply) => {
                assert_eq!(reply.status, 503, "{}", reply.text());
                assert!(Instant::now() < until, "{}", reply.text());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    Ok(sockets)
}
