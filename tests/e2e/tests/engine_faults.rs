//! Engines that die, hang or flap, and the effect on clients.

use berth_harness::{Result, Stack};
use serde_json::json;
use std::time::{Duration, Instant};

/// Upper bound of the delay that a stalled engine may add for one client.
const MAX_STALL: Duration = Duration::from_millis(1_000);
/// Additional time of a session on a busy test machine.
const SLACK: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_dead_engine_causes_no_client_error() -> Result<()> {
    let mut stack = Stack::builder().start().await?;
    let cookie = stack.login_demo().await?;
    let mut open = vec![stack.open_qix("/app/sales.qvf", &cookie).await?];
    stack.engines[0].kill();
    for _ in 0..30 {
        open.push(stack.open_qix("/app/sales.qvf", &cookie).await?);
    }
    for engine in stack.engines.iter().skip(1) {
        let sessions = engine.stats().await?.sessions;
        assert!(sessions >= 10, "{}: {sessions}", engine.name);
    }
    Ok(())
}

#[tokio::test]
async fn a_stalled_engine_delays_a_client_by_at_most_a_second() -> Result<()> {
    for fault in ["stall", "stall_websocket"] {
        let stack = Stack::builder().start().await?;
        let cookie = stack.login_demo().await?;
        stack.engines[0].faults(json!({fault: true})).await?;
        let mut slow = 0;
        for _ in 0..30 {
            let start = Instant::now();
            stack.open_qix("/app/sales.qvf", &cookie).await?;
            let took = start.elapsed();
            assert!(took <= MAX_STALL + SLACK, "{fault}: {took:?}");
            slow += usize::from(took > MAX_STALL / 2);
        }
        assert!(
            slow <= 3,
            "{fault}: {slow} of 30 waited for the stalled engine"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_flapping_engine_causes_no_client_error() -> Result<()> {
    let mut stack = Stack::builder().start().await?;
    let cookie = stack.login_demo().await?;
    for round in 0..4 {
        if round % 2 == 0 {
            stack.engines[1].kill();
        } else {
            stack.engines[1].restart().await?;
        }
        for _ in 0..8 {
            stack.open_qix("/doc/session-doc", &cookie).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_restarted_engine_receives_sessions_again() -> Result<()> {
    let mut stack = Stack::builder().engines(2).start().await?;
    let cookie = stack.login_demo().await?;
    stack.engines[0].kill();
    stack.open_qix("/app/sales.qvf", &cookie).await?;
    stack.engines[0].restart().await?;
    let stack = &stack;
    let returned = || async {
        stack.open_qix("/app/sales.qvf", &cookie).await.ok()?;
        (stack.engines[0].stats().await.ok()?.created_total > 0).then_some(())
    };
    berth_harness::wait::poll_until(
        "a session on the returned engine",
        Duration::from_secs(20),
        returned,
    )
    .await
}

#[tokio::test]
async fn faulty_engines_are_skipped() -> Result<()> {
    for fault in [
        json!({"wrong_frames": true}),
        json!({"no_license": true}),
        json!({"reject_jwt": true}),
        json!({"max_sessions": 0}),
        json!({"wrong_json": "junk"}),
        json!({"saturated": true}),
        json!({"no_metrics": true}),
    ] {
        let stack = Stack::builder().engines(2).start().await?;
        let cookie = stack.login_demo().await?;
        stack.engines[0].faults(fault.clone()).await?;
        for _ in 0..4 {
            let qix = stack.open_qix("/app/sales.qvf", &cookie).await;
            assert!(qix.is_ok(), "{fault}: {:?}", qix.err());
        }
    }
    Ok(())
}

#[tokio::test]
async fn when_every_engine_fails_the_response_names_the_reason_in_time() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let cookie = stack.login_demo().await?;
    for engine in &stack.engines {
        engine.faults(json!({"stall_websocket": true})).await?;
    }
    let start = Instant::now();
    let reply = stack
        .upgrade("/app/sales.qvf", &[("cookie", &cookie)])
        .await?
        .into_rejection()?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (503, "engine-failed")
    );
    assert!(!reply.header("retry-after").is_empty());
    assert!(
        start.elapsed() <= 3 * MAX_STALL + SLACK,
        "{:?}",
        start.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn decisions_are_logged_with_their_reasons_when_configured() -> Result<()> {
    for (share, wanted) in [(1, true), (0, false)] {
        let patch = json!({"placement": {"log_decisions": share}});
        let stack = Stack::builder().engines(2).service_config(&patch);
        let stack = stack.start().await?;
        let cookie = stack.login_demo().await?;
        stack.open_qix("/app/sales.qvf", &cookie).await?;
        let logs = std::fs::read_dir(&stack.dir)?.flatten();
        let logs = logs.filter(|file| file.path().extension().is_some_and(|e| e == "log"));
        let logs = logs.flat_map(|file| std::fs::read_to_string(file.path()));
        let logs: Vec<String> = logs.collect();
        let mut lines = logs.iter().flat_map(|log| log.lines());
        let decision = lines.find(|line| line.contains("berth::decisions"));
        assert_eq!(decision.is_some(), wanted, "{decision:?}");
        if let Some(line) = decision {
            for text in [
                "sales.qvf",
                "least-load",
                "engine-0",
                "engine-1",
                "selected",
                "scores",
                "weight",
            ] {
                assert!(line.contains(text), "{text}: {line}");
            }
        }
    }
    Ok(())
}
