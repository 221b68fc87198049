//! How long a session lasts, seen from outside: what counts as activity (S12), a restart of the service (S4), a store
//! that is gone (S6).

#![allow(clippy::indexing_slicing, reason = "a test's own steps may fail it")]

use berth_harness::{Call, Result, Stack, wait};
use serde_json::json;
use sqlx::SqlitePool;
use std::time::{Duration, Instant};

const IDLE: Duration = Duration::from_secs(3);

async fn short_sessions() -> Result<Stack> {
    let session = json!({"session": {"idle_timeout": "3s", "absolute_timeout": "1h"}});
    let builder = Stack::builder().engines(1).service_config(&session);
    builder.start().await
}

async fn status(stack: &Stack, path: &str, cookie: &str) -> Result<u16> {
    Ok(stack.send(Call::get(path).cookie(cookie)).await?.status)
}

/// Seconds that `GET /session` tells; `None` when it tells of nobody.
async fn idle_remaining(stack: &Stack, cookie: &str) -> Result<Option<u64>> {
    let reply = stack.send(Call::get("/session").cookie(cookie)).await?;
    Ok(reply.json()["idle_remaining_s"].as_u64())
}

#[tokio::test]
async fn looking_at_the_session_keeps_nobody_signed_in() -> Result<()> {
    let stack = short_sessions().await?;
    let cookie = stack.login_demo().await?;
    let since = Instant::now();
    let gone = || async {
        // Each of these is asked all the time.
        for path in ["/session/placements", "/is-authenticated"] {
            status(&stack, path, &cookie).await.ok()?;
        }
        let left = idle_remaining(&stack, &cookie).await.ok()?;
        left.is_none().then(|| since.elapsed())
    };
    let took = wait::until("the end of the idle session", 3 * IDLE, gone).await?;
    assert!(took >= IDLE - Duration::from_millis(100), "{took:?}");
    let reply = stack.send(Call::get("/api/whoami").cookie(&cookie)).await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (440, "session-expired")
    );
    Ok(())
}

#[tokio::test]
async fn requests_keep_a_session_alive() -> Result<()> {
    let stack = short_sessions().await?;
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
        stack.socket("/app/sales.qvf", &cookie).await?;
        tokio::time::sleep(IDLE / 6).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_restart_of_the_service_logs_nobody_out() -> Result<()> {
    let mut stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    stack.service()?.restart().await?;
    let stack = &stack;
    let back = || async {
        let call = Call::get("/api/whoami").cookie(&cookie);
        let reply = stack.send(call).await.ok()?;
        // Until Envoy has connected again; never a doubt about the session.
        assert!(matches!(reply.status, 200 | 503), "{}", reply.status);
        (reply.json()["account"] == "demo").then_some(())
    };
    wait::until("the session", Duration::from_secs(10), back).await?;
    stack.qix("/app/sales.qvf", &cookie).await?;
    Ok(())
}

/// What every kind of client is told while the store is gone.
async fn closed_to_everybody(stack: &Stack, cookie: &str) -> Result<()> {
    let seen = (
        stack.app.requests(),
        stack.engines[0].upgrades().await?.len(),
    );
    let page = [("sec-fetch-mode", "navigate"), ("accept", "text/html")];
    let api = stack.send(Call::get("/api/whoami").cookie(cookie)).await?;
    let page = Call::get("/app/sales.qvf").headers(&page).cookie(cookie);
    let page = stack.send(page).await?;
    let socket = stack
        .upgrade("/app/sales.qvf", &[("cookie", cookie)])
        .await?;
    for (what, reply) in [("api", api), ("page", page), ("socket", socket.refused()?)] {
        let got = (reply.status, reply.reason());
        assert_eq!(got, (503, "store-down".into()), "{what}: {}", reply.text());
        assert!(!reply.header("retry-after").is_empty(), "{what}");
        assert!(reply.headers.get("set-cookie").is_none(), "{what}");
        assert!(reply.headers.get("location").is_none(), "{what}");
    }
    let now = (
        stack.app.requests(),
        stack.engines[0].upgrades().await?.len(),
    );
    assert_eq!(seen, now, "somebody got through");
    Ok(())
}

#[tokio::test]
async fn without_the_store_nobody_gets_in_and_nobody_is_logged_out() -> Result<()> {
    let nothing_kept = json!({"session": {"cache": "0s"}});
    let builder = Stack::builder().engines(1).service_config(&nothing_kept);
    let stack = builder.start().await?;
    let cookie = stack.login_demo().await?;
    assert_eq!(status(&stack, "/api/whoami", &cookie).await?, 200);
    let url = format!("sqlite://{}", stack.dir.join("berth.db").display());
    let database = SqlitePool::connect(&url).await?;
    sqlx::query("ALTER TABLE sessions RENAME TO away")
        .execute(&database)
        .await?;
    for cookie in [
        cookie.as_str(),
        "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        closed_to_everybody(&stack, cookie).await?;
    }
    let session = stack.send(Call::get("/session").cookie(&cookie)).await?;
    assert_eq!(
        (session.status, session.reason().as_str()),
        (503, "store-down")
    );
    sqlx::query("ALTER TABLE away RENAME TO sessions")
        .execute(&database)
        .await?;
    assert_eq!(
        status(&stack, "/api/whoami", &cookie).await?,
        200,
        "the session is still there"
    );
    stack.qix("/app/sales.qvf", &cookie).await?;
    Ok(())
}
