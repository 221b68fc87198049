//! The lockout of accounts and the rate limit of logins per address.

use crate::site::{Answer, PASSWORD, Site, send_request};
use serde_json::json;

const MINUTE_MS: u64 = 60_000;

async fn log_in(site: &Site, username: &str, password: &str) -> Answer {
    let body = json!({"username": username, "password": password});
    site.post_json("/login", body).await
}

/// Logs in with this `X-Forwarded-For` header.
async fn log_in_from(site: &Site, forwarded_for: &str) -> Answer {
    let body = format!("username=demo&password={PASSWORD}");
    let request = site.post_form("/login", &body);
    send_request(request.header("x-forwarded-for", forwarded_for)).await
}

#[tokio::test]
async fn five_failures_lock_the_account_and_the_answer_does_not_reveal_it() {
    let site = Site::start("").await;
    let unknown = log_in(&site, "nobody", PASSWORD).await;
    assert_eq!(unknown.status, 401);
    for minutes in [1, 2, 4] {
        let failures = if minutes == 1 { 5 } else { 1 };
        for _ in 0..failures {
            assert_eq!(log_in(&site, "demo", "wrong").await.text, unknown.text);
        }
        let locked = log_in(&site, "demo", PASSWORD).await;
        assert_eq!((locked.status, &locked.text), (401, &unknown.text));
        assert!(locked.cookies().is_empty());
        assert_eq!(locked.header("retry-after"), "");
        site.clock.advance_ms(minutes * MINUTE_MS);
    }
    assert_eq!(log_in(&site, "demo", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn replicas_count_failures_together() {
    let site = Site::start("").await;
    let other = site.start_replica("").await;
    for replica in [&site, &other, &site, &other] {
        log_in(replica, "demo", "wrong").await;
    }
    assert_eq!(log_in(&other, "demo", PASSWORD).await.status, 200);
    for replica in [&site, &other, &site, &other, &site] {
        log_in(replica, "demo", "wrong").await;
    }
    assert_eq!(log_in(&other, "demo", PASSWORD).await.status, 401);
}

#[tokio::test]
async fn a_lockout_survives_a_restart_and_ends_no_session() {
    let site = Site::start("").await;
    let id = site.login().await;
    for _ in 0..5 {
        log_in(&site, "demo", "wrong").await;
    }
    let site = site.restart("").await;
    assert_eq!(log_in(&site, "demo", PASSWORD).await.status, 401);
    assert_eq!(site.token(&id).await.status, 200);
    site.clock.advance_ms(MINUTE_MS);
    assert_eq!(log_in(&site, "demo", PASSWORD).await.status, 200);
}

#[tokio::test]
async fn failures_are_counted_by_their_reason() {
    let site = Site::start("login: { rate: null, lockout: { max_failures: 1 } }").await;
    log_in(&site, "nobody", "x").await;
    log_in(&site, "demo", "x").await;
    log_in(&site, "demo", PASSWORD).await;
    let metrics = site.get("/metrics", "").await.text;
    for reason in ["unknown-account", "wrong-password", "locked"] {
        let line = format!("berth_logins_total{{result=\"{reason}\"}} 1");
        assert!(metrics.lines().any(|l| l == line), "{line}");
    }
}

#[tokio::test]
async fn an_address_gets_a_burst_of_logins_and_then_a_slow_rate() {
    let site = Site::start("login: {}").await;
    for _ in 0..10 {
        assert_eq!(log_in_from(&site, "192.0.2.1").await.status, 303);
    }
    let page = log_in_from(&site, "192.0.2.1").await;
    assert_eq!((page.status, page.header("retry-after")), (429, "2"));
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text.contains("Too many logins from your address."));
    let body = json!({"username": "demo", "password": PASSWORD}).to_string();
    let request = site.request(reqwest::Method::POST, "/login").body(body);
    let request = request
        .header("content-type", "application/json")
        .header("x-forwarded-for", "192.0.2.1");
    let problem = send_request(request).await;
    assert_eq!((problem.status, problem.header("retry-after")), (429, "2"));
    assert_eq!(problem.reason(), "too-many-logins");
    // A request for the page is not a login, and other addresses are not affected.
    assert_eq!(site.get("/login", "").await.status, 200);
    assert_eq!(log_in_from(&site, "192.0.2.2").await.status, 303);
    site.clock.advance_ms(2_000);
    assert_eq!(log_in_from(&site, "192.0.2.1").await.status, 303);
    assert_eq!(log_in_from(&site, "192.0.2.1").await.status, 429);
}

#[tokio::test]
async fn addresses_that_a_client_claims_are_ignored() {
    let site = Site::start("login: { rate: { per_minute: 1, burst: 2 } }").await;
    assert_eq!(
        log_in_from(&site, "198.51.100.1, 192.0.2.1").await.status,
        303
    );
    assert_eq!(
        log_in_from(&site, "198.51.100.2, 192.0.2.1").await.status,
        303
    );
    assert_eq!(
        log_in_from(&site, "198.51.100.3, 192.0.2.1").await.status,
        429
    );
    assert_eq!(log_in_from(&site, "2001:db8::1").await.status, 303);
    assert_eq!(log_in_from(&site, "2001:db8::2").await.status, 303);
    assert_eq!(log_in_from(&site, "2001:db8::3").await.status, 429);
    let peer = Site::start("login: { trusted_proxies: 0, rate: { burst: 2 } }").await;
    for (n, status) in [303, 303, 429].into_iter().enumerate() {
        assert_eq!(
            log_in_from(&peer, &format!("192.0.2.{n}")).await.status,
            status
        );
    }
}

#[tokio::test]
async fn beyond_the_rate_limit_no_password_is_checked() {
    let site = Site::start("login: { rate: { per_minute: 1, burst: 5 } }").await;
    for n in 0..20 {
        let status = log_in(&site, "demo", "wrong").await.status;
        assert_eq!(status, if n < 5 { 401 } else { 429 });
    }
    let failures = sqlx::query_scalar("SELECT failures FROM accounts WHERE name = 'demo'");
    let failures: i64 = failures.fetch_one(&site.database().await).await.unwrap();
    assert_eq!(failures, 5);
}
