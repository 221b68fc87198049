//! Traps of the filter: they grant no access, the filter recovers soon, and they are visible in metrics.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::token::Claims;
use berth_harness::{Call, Reply, Result, Stack, WebSocket, paths, wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The header that makes the test build trap.
const TRAP: (&str, &str) = ("trap-for-tests", "1");
const LIMIT: Duration = Duration::from_secs(30);

/// Sends requests one after the other until `stop` is set, and counts the rejected ones.
async fn send_attacks(
    to: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
) -> Result<()> {
    let forged = format!("Bearer {}", Claims::for_account("admin").sign()?);
    let headers = [
        ("authorization", forged.as_str()),
        ("x-qlik-session", "stolen"),
    ];
    while !stop.load(Ordering::SeqCst) {
        // A connection that breaks grants no access either.
        if let Ok(reply) = Call::get("/api/whoami").headers(&headers).send(to).await {
            // 401 from the filter, or 500 or 503 from an Envoy without a running filter.
            assert!(
                [401, 500, 503].contains(&reply.status),
                "{} {}",
                reply.status,
                reply.text()
            );
            assert_ne!(
                reply.json()["error"],
                "no valid token",
                "it reached the application"
            );
            refused.fetch_add(1, Ordering::SeqCst);
        }
        if let Ok(upgrade) = WebSocket::upgrade(to, "/app/sales.qvf", &headers).await {
            upgrade.into_rejection()?;
            refused.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_trap_grants_no_access_and_the_filter_recovers_within_two_seconds() -> Result<()> {
    const TRAPS: u64 = 4;
    let stack = Stack::builder()
        .engines(1)
        .module(paths::trapping_module()?)
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let (stop, refused) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
    let attackers: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(send_attacks(
                stack.address(),
                Arc::clone(&stop),
                Arc::clone(&refused),
            ))
        })
        .collect();
    let mut served = 0;
    let mut worst = Duration::ZERO;
    for _ in 0..TRAPS {
        let mut open = stack.open_socket("/app/sales.qvf", &cookie).await?;
        open.check_echo().await?;
        let trapped = stack
            .send(Call::get("/api/whoami").cookie(&cookie).headers(&[TRAP]))
            .await;
        assert!(
            !trapped.is_ok_and(|reply| reply.status == 200),
            "a trap grants access"
        );
        let started_at = Instant::now();
        let again = || async {
            let reply = stack
                .send(Call::get("/api/whoami").cookie(&cookie))
                .await
                .ok()?;
            (reply.status == 200).then_some(())
        };
        wait::poll_until("a request after the trap", LIMIT, again).await?;
        worst = worst.max(started_at.elapsed());
        served += 1;
        // The trap ends the worker's sockets: bytes on one of them reach no engine.
        let end = async { while open.check_echo().await.is_ok() {} };
        tokio::time::timeout(LIMIT, end)
            .await
            .map_err(|_| "a socket outlived the trap")?;
        // Envoy creates a new VM at once, but waits before it creates another one.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for attacker in attackers {
        attacker.await??;
    }
    let refused = refused.load(Ordering::SeqCst);
    println!("{TRAPS} traps, served again after at most {worst:?}, {refused} attacks rejected");
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    assert!(refused > 100, "only {refused} attacks");
    assert_eq!(
        stack.app.requests(),
        served,
        "only the user's requests arrived"
    );
    // Only upgrades through Envoy: the service also connects, to prepare sessions.
    let upgrades = stack.engines[0].upgrades().await?;
    let through_envoy = upgrades
        .iter()
        .filter(|one| one.header("x-request-id").count() > 0);
    assert_eq!(
        through_envoy.count() as u64,
        TRAPS,
        "only the user's sockets arrived"
    );
    Ok(())
}

#[tokio::test]
async fn an_idle_socket_of_a_dead_vm_ends_at_envoys_maximum_duration() -> Result<()> {
    let stack = Stack::builder()
        .engines(1)
        .module(paths::trapping_module()?)
        .envoy_text("36000s", "3s")
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let mut idle = stack.open_socket("/app/sales.qvf", &cookie).await?;
    trigger_trap(&stack).await;
    // The idle socket sends nothing, so the filter's code no longer runs for it.
    idle.receive_until_closed().await?;
    let name = "http.http.downstream_rq_max_duration_reached";
    assert_eq!(stack.envoy.stat(name).await?, Some(1));
    Ok(())
}

/// Sends a readiness probe through the listener, on a route that bypasses the filter.
async fn probe_readiness(stack: &Stack) -> Result<Reply> {
    stack.send(Call::get("/session")).await
}

async fn await_ready(stack: &Stack) -> Result<()> {
    let answers = || async {
        let reply = probe_readiness(stack).await.ok()?;
        (reply.status == 200).then_some(())
    };
    wait::poll_until("it is ready", LIMIT, answers).await
}

async fn trigger_trap(stack: &Stack) {
    let trap = Call::get("/session").headers(&[TRAP]);
    assert!(!stack.send(trap).await.is_ok_and(|reply| reply.status < 500));
}

/// Envoy's counters of new VMs after traps: created, failed, and requests rejected during the back-off.
async fn reload_counts(stack: &Stack) -> Result<[u64; 3]> {
    let mut counts = [0; 3];
    for (count, what) in counts.iter_mut().zip(["success", "failure", "backoff"]) {
        let name = format!("wasm.berth.vm_reload_{what}");
        let value = stack.envoy.stat(&name).await?;
        *count = value.ok_or_else(|| format!("Envoy counts no {name}"))?;
    }
    Ok(counts)
}

#[tokio::test]
async fn a_dead_vm_is_counted_and_not_ready_until_it_is_replaced() -> Result<()> {
    let stack = Stack::builder()
        .engines(1)
        .module(paths::trapping_module()?)
        .start()
        .await?;
    await_ready(&stack).await?;
    assert_eq!(reload_counts(&stack).await?, [0, 0, 0]);
    trigger_trap(&stack).await;
    await_ready(&stack).await?;
    // Envoy does not create a second VM at once. Until then it responds by itself.
    trigger_trap(&stack).await;
    let refused = probe_readiness(&stack).await?;
    assert_eq!((refused.status, refused.reason().as_str()), (503, ""));
    let [made, _, early] = reload_counts(&stack).await?;
    assert_eq!(made, 1, "only the first one is there");
    assert!(early > 0, "no request was rejected");
    await_ready(&stack).await?;
    let [made, failed, _] = reload_counts(&stack).await?;
    assert_eq!((made, failed), (2, 0));
    Ok(())
}
