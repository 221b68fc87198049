//! Traps of the filter: they let nobody in, are over soon, and show.

#![allow(clippy::indexing_slicing, reason = "a test's own steps may fail it")]

use berth_harness::token::Claims;
use berth_harness::{Call, Reply, Result, Stack, WebSocket, paths, wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The header that the test build traps on.
const TRAP: (&str, &str) = ("trap-for-tests", "1");
const LIMIT: Duration = Duration::from_secs(30);

/// Attackers, one after the other, until told to stop; how each of their requests was answered.
async fn attack(
    to: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
) -> Result<()> {
    let forged = format!("Bearer {}", Claims::of("admin").sign()?);
    let headers = [
        ("authorization", forged.as_str()),
        ("x-qlik-session", "stolen"),
    ];
    while !stop.load(Ordering::SeqCst) {
        // A connection that breaks lets nobody in either.
        if let Ok(reply) = Call::get("/api/whoami").headers(&headers).send(to).await {
            // 401 by the filter, 500 or 503 by an Envoy without one.
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
            upgrade.refused()?;
            refused.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_trap_lets_nobody_in_and_is_over_within_two_seconds() -> Result<()> {
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
            tokio::spawn(attack(
                stack.http(),
                Arc::clone(&stop),
                Arc::clone(&refused),
            ))
        })
        .collect();
    let mut served = 0;
    let mut worst = Duration::ZERO;
    for _ in 0..TRAPS {
        let mut open = stack.socket("/app/sales.qvf", &cookie).await?;
        open.echoes().await?;
        let trapped = stack
            .send(Call::get("/api/whoami").cookie(&cookie).headers(&[TRAP]))
            .await;
        assert!(
            !trapped.is_ok_and(|reply| reply.status == 200),
            "a trap is no answer"
        );
        let began = Instant::now();
        let again = || async {
            let reply = stack
                .send(Call::get("/api/whoami").cookie(&cookie))
                .await
                .ok()?;
            (reply.status == 200).then_some(())
        };
        wait::until("a request after the trap", LIMIT, again).await?;
        worst = worst.max(began.elapsed());
        served += 1;
        // The trap took the worker's sockets along; what is sent on one reaches no engine.
        let end = async { while open.echoes().await.is_ok() {} };
        tokio::time::timeout(LIMIT, end)
            .await
            .map_err(|_| "a socket outlived the trap")?;
        // Envoy makes a new VM at once, but not a second one right after.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for attacker in attackers {
        attacker.await??;
    }
    let refused = refused.load(Ordering::SeqCst);
    println!("{TRAPS} traps, served again after {worst:?} at the most, {refused} attacks refused");
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    assert!(refused > 100, "only {refused} attacks");
    assert_eq!(
        stack.app.requests(),
        served,
        "only the user's requests arrived"
    );
    // Those that came through Envoy: the service connects too, to prepare.
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
async fn an_idle_socket_of_a_dead_vm_ends_with_the_longest_session() -> Result<()> {
    let stack = Stack::builder()
        .engines(1)
        .module(paths::trapping_module()?)
        .envoy_text("36000s", "3s")
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let mut idle = stack.socket("/app/sales.qvf", &cookie).await?;
    trapped(&stack).await;
    // It says nothing, so nothing of the filter's sees it any more.
    idle.listen_until_closed().await?;
    let name = "http.http.downstream_rq_max_duration_reached";
    assert_eq!(stack.envoy.stat(name).await?, Some(1));
    Ok(())
}

/// Whether it is ready is asked through the listener, on a route that the filter lets by.
async fn readiness(stack: &Stack) -> Result<Reply> {
    stack.send(Call::get("/session")).await
}

async fn ready(stack: &Stack) -> Result<()> {
    let answers = || async {
        let reply = readiness(stack).await.ok()?;
        (reply.status == 200).then_some(())
    };
    wait::until("it is ready", LIMIT, answers).await
}

async fn trapped(stack: &Stack) {
    let trap = Call::get("/session").headers(&[TRAP]);
    assert!(!stack.send(trap).await.is_ok_and(|reply| reply.status < 500));
}

/// What Envoy counts of new VMs after a trap: made, not made, and requests refused as it was too early for one.
async fn reloads(stack: &Stack) -> Result<[u64; 3]> {
    let mut counts = [0; 3];
    for (count, what) in counts.iter_mut().zip(["success", "failure", "backoff"]) {
        let name = format!("wasm.berth.vm_reload_{what}");
        let value = stack.envoy.stat(&name).await?;
        *count = value.ok_or_else(|| format!("Envoy counts no {name}"))?;
    }
    Ok(counts)
}

#[tokio::test]
async fn a_dead_vm_is_counted_and_not_ready_until_there_is_another() -> Result<()> {
    let stack = Stack::builder()
        .engines(1)
        .module(paths::trapping_module()?)
        .start()
        .await?;
    ready(&stack).await?;
    assert_eq!(reloads(&stack).await?, [0, 0, 0]);
    trapped(&stack).await;
    ready(&stack).await?;
    // Not a second one right after: until then Envoy answers by itself.
    trapped(&stack).await;
    let refused = readiness(&stack).await?;
    assert_eq!((refused.status, refused.reason().as_str()), (503, ""));
    let [made, _, early] = reloads(&stack).await?;
    assert_eq!(made, 1, "one has come, and the other not yet");
    assert!(early > 0, "nobody was refused in between");
    ready(&stack).await?;
    let [made, failed, _] = reloads(&stack).await?;
    assert_eq!((made, failed), (2, 0));
    Ok(())
}
