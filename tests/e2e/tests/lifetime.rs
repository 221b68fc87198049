//! The lifetime of a session from the client's view: what counts as activity, and a restart of the service.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::{Call, Result, Stack, wait};
use serde_json::json;
use std::time::{Duration, Instant};

const IDLE: Duration = Duration::from_secs(4);

async fn stack_with_short_sessions() -> Result<Stack> {
    let session = json!({"session": {"idle_timeout": "4s", "absolute_timeout": "1h"}});
    let builder = Stack::builder().engines(1).service_config(&session);
    builder.start().await
}

async fn status(stack: &Stack, path: &str, cookie: &str) -> Result<u16> {
    Ok(stack.send(Call::get(path).cookie(cookie)).await?.status)
}

/// The idle time that `GET /session` reports; `None` without a session.
async fn idle_remaining(stack: &Stack, cookie: &str) -> Result<Option<u64>> {
    let reply = stack.send(Call::get("/session").cookie(cookie)).await?;
    Ok(reply.json()["idle_remaining_s"].as_u64())
}

#[tokio::test]
async fn requests_for_the_session_status_are_no_activity() -> Result<()> {
    let stack = stack_with_short_sessions().await?;
    let cookie = stack.login_demo().await?;
    let since = Instant::now();
    let ended = || async {
        // Pages send these requests repeatedly.
        for path in ["/session/placements", "/is-authenticated"] {
            status(&stack, path, &cookie).await.ok()?;
        }
        let left = idle_remaining(&stack, &cookie).await.ok()?;
        left.is_none().then(|| since.elapsed())
    };
    let elapsed = wait::poll_until("the end of the idle session", 3 * IDLE, ended).await?;
    assert!(elapsed >= IDLE - Duration::from_millis(100), "{elapsed:?}");
    let reply = stack.send(Call::get("/api/whoami").cookie(&cookie)).await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (440, "session-expired")
    );
    Ok(())
}

#[tokio::test]
async fn requests_to_the_application_keep_a_session_active() -> Result<()> {
    let stack = stack_with_short_sessions().await?;
    let cookie = stack.login_demo().await?;
    let since = Instant::now();
    while since.elapsed() < 2 * IDLE {
        assert_eq!(
            status(&stack, "/api/whoami", &cookie).await?,
            200,
            "{:?}",
            since.elapsed()
        );
        tokio::time::sleep(IDLE / 6).await;
    }
    assert!(idle_remaining(&stack, &cookie).await?.is_some());
    let upgrades = Instant::now();
    while upgrades.elapsed() < 2 * IDLE {
        stack.open_socket("/app/sales.qvf", &cookie).await?;
        tokio::time::sleep(IDLE / 6).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_restart_of_the_service_ends_no_session() -> Result<()> {
    let mut stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    stack.service()?.restart().await?;
    let stack = &stack;
    let serves_again = || async {
        let call = Call::get("/api/whoami").cookie(&cookie);
        let reply = stack.send(call).await.ok()?;
        // 503 until Envoy has reconnected, but never a rejection of the session.
        assert!(matches!(reply.status, 200 | 503), "{}", reply.status);
        (reply.json()["account"] == "demo").then_some(())
    };
    wait::poll_until("the session", Duration::from_secs(10), serves_again).await?;
    stack.open_qix("/app/sales.qvf", &cookie).await?;
    Ok(())
}
