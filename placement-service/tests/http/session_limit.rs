//! The limit of concurrent sessions per account (`session.max_per_account`).

use crate::events::CLIENTS;
use crate::site::{Answer, PASSWORD, Site, send_request, session_id};
use futures_util::future::join_all;
use serde_json::json;
use sqlx::Row;

fn session_yaml(limit: u32, on_limit: &str) -> String {
    let limit = format!("max_per_account: {limit}, on_limit: {on_limit}");
    format!("session: {{ cookie: {{ secure: false }}, {limit} }}")
}

async fn start_site(limit: u32, on_limit: &str) -> Site {
    Site::start(&session_yaml(limit, on_limit)).await
}

async fn log_in(site: &Site) -> Answer {
    let body = json!({"username": "demo", "password": PASSWORD});
    site.post_json("/login", body).await
}

/// The causes of all session ends in the event log, in order.
async fn end_causes(site: &Site) -> Vec<String> {
    let rows = sqlx::query("SELECT event ->> 'cause' AS cause FROM events ORDER BY sequence");
    let rows = rows.fetch_all(&site.database().await).await.unwrap();
    let causes = rows.iter().map(|row| row.get::<Option<String>, _>("cause"));
    causes.flatten().collect()
}

#[tokio::test]
async fn a_login_beyond_the_limit_is_refused() {
    let site = start_site(2, "reject").await;
    let first = site.login().await;
    site.login().await;
    let refused = log_in(&site).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (429, "too-many-sessions")
    );
    assert!(refused.cookies().is_empty());
    let form = format!("username=demo&password={PASSWORD}");
    let page = send_request(site.post_form("/login", &form)).await;
    assert_eq!(page.status, 429);
    assert!(page.text.contains("You are logged in too many times."));
    let out = site.request(reqwest::Method::POST, "/logout");
    send_request(out.header("cookie", format!("berth={first}"))).await;
    assert_eq!(log_in(&site).await.status, 200);
    // Expired sessions do not count.
    site.clock.advance_ms(31 * 60_000);
    assert_eq!(log_in(&site).await.status, 200);
}

#[tokio::test]
async fn the_same_browser_may_always_log_in_again() {
    let site = start_site(1, "reject").await;
    let first = site.login().await;
    let form = format!("username=demo&password={PASSWORD}");
    let request = site.post_form("/login", &form);
    let again = send_request(request.header("cookie", format!("berth={first}"))).await;
    assert_eq!(again.status, 303);
    assert_eq!(site.token(&first).await.reason(), "unknown-session");
    assert_eq!(site.token(&session_id(&again)).await.status, 200);
    assert_eq!(end_causes(&site).await, ["login-again"]);
}

#[tokio::test]
async fn a_login_beyond_the_limit_ends_the_oldest_session_if_configured() {
    let site = start_site(2, "end-oldest").await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(site.login().await);
        site.clock.advance_ms(1_000);
    }
    for (id, status) in ids.iter().zip([401, 401, 200, 200]) {
        assert_eq!(site.token(id).await.status, status);
    }
    assert_eq!(end_causes(&site).await, ["session-limit", "session-limit"]);
}

#[tokio::test]
async fn child_sessions_do_not_count() {
    let per_account = "session: { cookie: { secure: false }, max_per_account: 1 }";
    let site = Site::start(&format!("{CLIENTS}{per_account}")).await;
    let id = site.login().await;
    let parent = site.token(&id).await.json();
    let path = format!(
        "/v1/sessions/{}/children",
        parent["session_ref"].as_str().unwrap()
    );
    for _ in 0..2 {
        let request = site.request(reqwest::Method::POST, &path).body("{}");
        let started =
            send_request(request.header("authorization", "Bearer operator-secret-1")).await;
        assert_eq!(started.status, 201, "{started:?}");
    }
    assert_eq!(log_in(&site).await.reason(), "too-many-sessions");
    let out = site.request(reqwest::Method::POST, "/logout");
    send_request(out.header("cookie", format!("berth={id}"))).await;
    assert_eq!(log_in(&site).await.status, 200);
}

#[tokio::test]
async fn the_limit_holds_for_concurrent_logins_on_two_replicas() {
    for (on_limit, succeed) in [("reject", 3), ("end-oldest", 12)] {
        let (session, site) = (session_yaml(3, on_limit), start_site(3, on_limit).await);
        let other = site.start_replica(&session).await;
        let answers = join_all((0..6).flat_map(|_| [log_in(&site), log_in(&other)])).await;
        let fine = answers.iter().filter(|answer| answer.status == 200);
        assert_eq!(fine.clone().count(), succeed, "{on_limit}");
        assert_eq!(site.session_rows().await, 3, "{on_limit}");
        let mut alive = 0;
        for id in fine.map(session_id) {
            alive += u32::from(site.token(&id).await.status == 200);
        }
        assert_eq!(alive, 3, "{on_limit}");
    }
}
