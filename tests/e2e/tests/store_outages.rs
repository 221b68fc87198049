//! Outages of each kind of store: no request is accepted, no session ends, and everything works again after the
//! outage.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_databases::{Postgres, Redis};
use berth_harness::{Call, Result, Stack, wait};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use std::time::Duration;

const UNKNOWN: &str = "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A stack on that store without a session cache, and the cookie of a login.
async fn stack_with_store(store: &Value) -> Result<(Stack, String)> {
    let nothing_kept = json!({"session": {"cache": "0s"}, "store": store});
    let builder = Stack::builder().engines(1).service_config(&nothing_kept);
    let stack = builder.start().await?;
    let cookie = stack.login_demo().await?;
    assert_eq!(whoami(&stack, &cookie).await?, 200);
    Ok((stack, cookie))
}

/// The same on a database server of this kind.
async fn stack_with_server(kind: &str, url: &str) -> Result<(Stack, String)> {
    let store = json!({"kind": kind, "path": null, "url": {"inline": url}});
    stack_with_store(&store).await
}

async fn whoami(stack: &Stack, cookie: &str) -> Result<u16> {
    let call = Call::get("/api/whoami").cookie(cookie);
    Ok(stack.send(call).await?.status)
}

/// Checks the rejection of every kind of client while the store is down.
async fn check_rejections(stack: &Stack, cookie: &str) -> Result<()> {
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
    for (what, reply) in [
        ("api", api),
        ("page", page),
        ("socket", socket.into_rejection()?),
    ] {
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
    assert_eq!(seen, now, "a request got through");
    Ok(())
}

/// Rejects requests with a session and requests that could have one.
async fn check_no_access(stack: &Stack, cookie: &str) -> Result<()> {
    for cookie in [cookie, UNKNOWN] {
        check_rejections(stack, cookie).await?;
    }
    let session = stack.send(Call::get("/session").cookie(cookie)).await?;
    let got = (session.status, session.reason());
    assert_eq!(got, (503, "store-down".into()));
    // A request without a cookie is rejected without the store.
    let anonymous = stack.send(Call::get("/api/whoami")).await?;
    assert_eq!(anonymous.reason(), "no-session");
    Ok(())
}

async fn await_recovered_session(stack: &Stack, cookie: &str) -> Result<()> {
    let back = || async {
        let status = whoami(stack, cookie).await.ok()?;
        assert!(matches!(status, 200 | 503), "{status}: logged out");
        (status == 200).then_some(())
    };
    wait::poll_until("the store to be back", Duration::from_secs(15), back).await?;
    stack.open_qix("/app/sales.qvf", cookie).await?;
    Ok(())
}

#[tokio::test]
async fn a_sqlite_file_that_becomes_invalid_rejects_requests_and_ends_no_session() -> Result<()> {
    let (stack, cookie) = stack_with_store(&json!({})).await?;
    let url = format!("sqlite://{}", stack.dir.join("berth.db").display());
    let mut database = SqliteConnection::connect(&url).await?;
    let away = sqlx::query("ALTER TABLE sessions RENAME TO away");
    away.execute(&mut database).await?;
    check_no_access(&stack, &cookie).await?;
    let back = sqlx::query("ALTER TABLE away RENAME TO sessions");
    back.execute(&mut database).await?;
    await_recovered_session(&stack, &cookie).await
}

#[tokio::test]
async fn a_postgresql_that_is_down_rejects_requests_and_ends_no_session() -> Result<()> {
    let mut server = Postgres::start().await?;
    let url = server.database().await?;
    let (stack, cookie) = stack_with_server("postgres", &url).await?;
    server.kill();
    check_no_access(&stack, &cookie).await?;
    server.restart().await?;
    await_recovered_session(&stack, &cookie).await
}

#[tokio::test]
async fn a_redis_that_is_down_rejects_requests_and_ends_no_session() -> Result<()> {
    let mut server = Redis::start().await?;
    let (stack, cookie) = stack_with_server("redis", &server.database()).await?;
    server.kill();
    check_no_access(&stack, &cookie).await?;
    server.restart().await?;
    await_recovered_session(&stack, &cookie).await
}

#[tokio::test]
async fn a_redis_that_hangs_rejects_requests_and_ends_no_session() -> Result<()> {
    let server = Redis::start().await?;
    let (stack, cookie) = stack_with_server("redis", &server.database()).await?;
    server.freeze();
    check_no_access(&stack, &cookie).await?;
    server.resume();
    await_recovered_session(&stack, &cookie).await
}
