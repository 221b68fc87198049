//! Login cookies without a session, or with an expired one: all requests with the same cookie get the same anonymous
//! id, on every replica. Nothing is stored, and nothing reaches an application or an engine.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_databases::Postgres;
use berth_harness::{Call, Reply, Result, Stack, wait};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use sqlx::{PgPool, SqlitePool};
use std::collections::BTreeSet;
use std::time::Duration;

const UNKNOWN: &str = "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const STRAY: &str = "berth=not-even-an-id";

/// Number of sessions in the store.
async fn count_sessions(stack: &Stack, store: &Value) -> Result<i64> {
    let count = "SELECT count(*) FROM sessions";
    let Some(url) = store["url"]["inline"].as_str() else {
        let url = format!("sqlite://{}", stack.dir.join("berth.db").display());
        let pool = SqlitePool::connect(&url).await?;
        return Ok(sqlx::query_scalar(count).fetch_one(&pool).await?);
    };
    let pool = PgPool::connect(url).await?;
    Ok(sqlx::query_scalar(count).fetch_one(&pool).await?)
}

async fn check_upstreams_untouched(stack: &Stack) -> Result<()> {
    assert_eq!(stack.app.requests(), 0, "the application was reached");
    for engine in &stack.engines {
        let upgrades = engine.upgrades().await?.len();
        assert_eq!(upgrades, 0, "{} was reached", engine.name);
    }
    Ok(())
}

/// Sends 20 concurrent requests, which must be rejected with the first of the reasons, some of them with another one.
/// Returns their one anonymous cookie.
async fn send_twenty_requests(stack: &Stack, cookie: &str, reasons: &[&str]) -> Result<String> {
    let calls = (0..20).map(|_| stack.send(Call::get("/api/anything").cookie(cookie)));
    let mut anonymous = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for reply in try_join_all(calls).await? {
        assert_eq!(reply.status, 440);
        seen.insert(reply.reason());
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let set: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
        let [one] = set[..] else {
            return Err(format!("not one Set-Cookie: {set:?}").into());
        };
        let one = one.to_str()?.to_owned();
        assert!(one.starts_with("berth-anon="), "{one}");
        assert!(
            one.contains("HttpOnly") && one.contains("SameSite=Lax"),
            "{one}"
        );
        anonymous.insert(one);
    }
    assert!(
        seen.contains(reasons[0]) && seen.iter().all(|reason| reasons.contains(&reason.as_str())),
        "{seen:?}"
    );
    assert_eq!(anonymous.len(), 1, "{anonymous:?}");
    anonymous.pop_first().ok_or_else(|| "none".into())
}

/// A cookie whose session has expired and is still in the store.
async fn expired_cookie(stack: &Stack) -> Result<String> {
    let cookie = stack.login_demo().await?;
    let over = || async {
        let call = Call::get("/session").cookie(&cookie);
        let reply = stack.send(call).await.ok()?;
        (reply.json()["anonymous"] == true).then_some(())
    };
    wait::poll_until("the session to expire", Duration::from_secs(10), over).await?;
    Ok(cookie)
}

async fn check_anonymous_ids(services: usize, store: &Value) -> Result<()> {
    // No cleanup runs during the test.
    let cleanup = json!({"interval": "1h"});
    let short =
        json!({"session": {"idle_timeout": "1s", "absolute_timeout": "1s", "cleanup": cleanup}});
    let stack = Stack::builder()
        .engines(1)
        .services(services)
        // The token cache is off, so that each of the twenty makes a call.
        .filter_config(&json!({"cache": {"entries": 0}}))
        .service_config(&short)
        .service_config(&json!({"store": store}))
        .start()
        .await?;
    let unknown = send_twenty_requests(&stack, UNKNOWN, &["unknown-session"]).await?;
    let stray = send_twenty_requests(&stack, STRAY, &["unknown-session"]).await?;
    assert_ne!(unknown, stray, "each cookie has its own anonymous id");
    assert_eq!(
        count_sessions(&stack, store).await?,
        0,
        "random cookies must store nothing"
    );

    let over = expired_cookie(&stack).await?;
    // The replica that found the session expired removes it from the store. It knows the reason; the other one then knows
    // of no session.
    let reasons = ["session-expired", "unknown-session"];
    let reasons = reasons.get(..services).unwrap_or(&reasons);
    let anonymous = send_twenty_requests(&stack, &over, reasons).await?;
    assert!(anonymous != unknown && anonymous != stray);
    // The first request that finds the session expired ends it soon.
    let left = count_sessions(&stack, store).await?;
    assert!(left <= 1, "at most the expired one, and not {left}");
    // A later request gets the same id.
    assert_eq!(
        send_twenty_requests(&stack, UNKNOWN, &["unknown-session"]).await?,
        unknown
    );
    check_upstreams_untouched(&stack).await?;

    // An anonymous id is not a session, in either cookie.
    let name = anonymous.split(';').next().unwrap_or_default();
    let as_login = name.replace("berth-anon=", "berth=");
    send_twenty_requests(&stack, &as_login, &["unknown-session"]).await?;
    let both = Call::get("/api/anything").cookie(&format!("{name}; {over}"));
    let reply = stack.send(both).await?;
    assert_eq!(reply.set_cookie("berth-anon").as_deref(), Some(name));
    check_upstreams_untouched(&stack).await
}

#[tokio::test]
async fn concurrent_requests_with_one_stale_cookie_get_one_anonymous_id() -> Result<()> {
    check_anonymous_ids(1, &json!({})).await
}

#[tokio::test]
async fn two_replicas_give_one_stale_cookie_the_same_anonymous_id() -> Result<()> {
    check_anonymous_ids(2, &json!({})).await
}

#[tokio::test]
async fn two_replicas_with_postgresql_give_one_stale_cookie_the_same_anonymous_id() -> Result<()> {
    let server = Postgres::shared().await?;
    let url = server.database().await?;
    // Twenty concurrent requests on a busy test machine: a connection may take longer than the default timeout of one
    // second.
    let store = json!({"kind": "postgres", "path": null, "url": {"inline": url}, "timeout": "10s"});
    check_anonymous_ids(2, &store).await
}

#[tokio::test]
async fn both_replicas_answer_requests_with_stale_cookies() -> Result<()> {
    let stack = Stack::builder()
        .engines(1)
        .services(2)
        .filter_config(&json!({"cache": {"entries": 0}}))
        .start()
        .await?;
    send_twenty_requests(&stack, UNKNOWN, &["unknown-session"]).await?;
    let own = stack.service.as_ref().map(|service| service.addr);
    let mut all = 0;
    for addr in own.into_iter().chain(stack.replicas.iter().map(|r| r.addr)) {
        let text = Call::get("/metrics").send(addr).await?.text();
        let line = text
            .lines()
            .find(|l| l.starts_with("berth_refusals_total{reason=\"unknown-session\"}"));
        let count: u64 = line
            .and_then(|l| l.rsplit(' ').next())
            .unwrap_or("0")
            .parse()?;
        // Envoy alternates between the replicas until the worker has a call stream to one of them.
        assert!(count > 0, "one replica has no calls");
        all += count;
    }
    assert_eq!(all, 20);
    Ok(())
}

#[tokio::test]
async fn a_late_rejection_does_not_replace_a_new_login_cookie() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let late = stack
        .send(Call::get("/api/anything").cookie(UNKNOWN))
        .await?;
    assert_eq!(late.status, 440);
    for set in late.headers.get_all("set-cookie") {
        assert!(!set.to_str()?.starts_with("berth="), "{set:?}");
    }
    let cookie = stack.login_demo().await?;
    let anonymous = late.set_cookie("berth-anon").ok_or("no anonymous cookie")?;
    let call = Call::get("/api/whoami").cookie(&format!("{anonymous}; {cookie}"));
    assert_eq!(stack.send(call).await?.json()["account"], "demo");
    Ok(())
}

#[tokio::test]
async fn a_stale_cookie_is_rejected_as_fits_the_kind_of_client() -> Result<()> {
    let routes = json!([
        {"prefix": "/api/", "action": "authenticate"},
        {"prefix": "/apix/", "action": "authenticate"},
        {"prefix": "/reports/", "action": "authenticate"},
        {"path": "/login", "action": "bypass"},
    ]);
    let stack = Stack::builder()
        .engines(1)
        .filter_config(&json!({"routes": routes}))
        .start()
        .await?;
    let page = [
        ("sec-fetch-mode", "navigate"),
        ("accept", "text/html,*/*;q=0.8"),
    ];
    let html = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let cors = [("sec-fetch-mode", "cors"), ("accept", "text/html")];
    let same_origin = [("sec-fetch-mode", "same-origin")];
    let json = [("accept", "application/json")];
    let login = |to: &str| format!("302 /login?return_to={to}");
    let refused = || "440".to_owned();
    for (method, path, headers, expected) in [
        (
            "GET",
            "/reports/a?b=c&d=%20",
            &page[..],
            login("%2Freports%2Fa%3Fb%3Dc%26d%3D%2520"),
        ),
        ("GET", "/reports/a", &html, login("%2Freports%2Fa")),
        ("GET", "/reports/a", &cors, refused()),
        ("GET", "/reports/a", &same_origin, refused()),
        ("GET", "/reports/a", &json, refused()),
        ("GET", "/reports/a", &[], refused()),
        ("POST", "/reports/a", &page, refused()),
        ("GET", "/api/a", &page, refused()),
        ("GET", "/api/", &html, refused()),
        ("GET", "/apix/a", &page, login("%2Fapix%2Fa")),
        ("GET", "/apix/a", &cors, refused()),
    ] {
        let call = Call::new(method, path).headers(headers).cookie(UNKNOWN);
        let reply = stack.send(call).await?;
        let location = reply.header("location");
        let got = format!("{} {location}", reply.status);
        assert_eq!(got.trim_end(), expected, "{method} {path} {headers:?}");
        let anonymous = reply.set_cookie("berth-anon").is_some();
        assert_eq!(
            anonymous,
            reply.status == 440,
            "{method} {path} {headers:?}"
        );
        let none = Call::new(method, path).headers(headers);
        check_response_without_cookie(&stack.send(none).await?, &expected);
    }
    check_upstreams_untouched(&stack).await
}

/// Without a cookie the status is 401 instead of 440, and no cookie is set.
fn check_response_without_cookie(reply: &Reply, expected: &str) {
    let status = if expected == "440" { 401 } else { 302 };
    assert_eq!(reply.status, status);
    assert!(reply.headers.get("set-cookie").is_none());
}
