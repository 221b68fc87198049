//! One of two replicas loses its connection to the shared store: it refuses requests while the other replica goes on,
//! and it recovers by itself. Also a store that returns without its latest writes: the replicas follow later events.

use crate::site::{LONG_CACHE, Site, eventually};
use crate::store_outages::{is_store_down, start_site};
use berth_databases::{FaultProxy, Postgres, Redis};
use serde_json::json;
use std::time::{Duration, Instant};

/// `store.timeout`, `session.cache`, and a margin for a loaded machine.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(4);

async fn wait_until_refused(site: &Site, session: &str) {
    let cut = Instant::now();
    loop {
        let answer = site.token(session).await;
        if is_store_down(&answer) {
            break;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(cut.elapsed() < REFUSAL_TIMEOUT, "still served from memory");
        tokio::task::yield_now().await;
    }
    assert!(is_store_down(&site.token(&"A".repeat(43)).await));
}

/// Whether `GET /health/ready` reports this state of the store.
async fn reports_ready(site: &Site, store: bool) -> bool {
    let answer = site.get("/health/ready", "").await;
    let status = if store { 200 } else { 503 };
    let body = answer.json();
    let read = json!([body["ready"], body["store"], body["fleet"]]);
    answer.status == status && read == json!([store, store, true])
}

async fn check_one_cut_off_replica(kind: &str, url: &str) {
    let (proxy, far_url) = FaultProxy::start(url).await.unwrap();
    let other = start_site(kind, url).await;
    let cut_off = start_site(kind, &far_url).await;
    let session = other.login().await;
    assert_eq!(cut_off.token(&session).await.status, 200);
    assert!(reports_ready(&cut_off, true).await);

    proxy.cut();
    wait_until_refused(&cut_off, &session).await;
    assert!(reports_ready(&cut_off, false).await);
    assert!(reports_ready(&other, true).await);
    // The other replica is not affected. Its changes hold on both replicas afterwards.
    assert_eq!(other.token(&session).await.status, 200);
    let later = other.login().await;
    assert!(is_store_down(&cut_off.token(&later).await));
    let out = other.request(reqwest::Method::POST, "/logout");
    let out = crate::site::send_request(out.header("cookie", format!("berth={session}"))).await;
    assert_eq!(out.status, 204);

    proxy.restore();
    eventually("the replica is back", async || {
        let answer = cut_off.token(&later).await;
        assert!(answer.status == 200 || is_store_down(&answer), "{answer:?}");
        answer.status == 200
    })
    .await;
    eventually("it is ready again", async || {
        reports_ready(&cut_off, true).await
    })
    .await;
    let over = cut_off.token(&session).await;
    assert_eq!(
        (over.status, over.reason()),
        (401, "unknown-session".to_owned())
    );
}

#[tokio::test]
async fn a_replica_that_loses_postgres_refuses_and_recovers() {
    let server = Postgres::shared().await.unwrap();
    check_one_cut_off_replica("postgres", &server.database().await.unwrap()).await;
}

#[tokio::test]
async fn a_replica_that_loses_redis_refuses_and_recovers() {
    let server = Redis::shared().await.unwrap();
    check_one_cut_off_replica("redis", &server.database()).await;
}

/// The number of the log entry up to which the site has read. A new gateway starts there.
async fn log_position(site: &Site) -> i64 {
    let poll = json!({"sequence": 1, "cursor": "now", "poll_timeout_ms": 0});
    let answer = site.post_json("/v1/gateways/newcomer/events", poll).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let cursor = answer.json()["cursor"].as_str().unwrap().to_owned();
    let of_log = cursor.split('.').next().unwrap();
    of_log.rsplit_once('-').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn an_event_log_that_lost_its_latest_entries_is_followed_from_there() {
    let site = Site::start(LONG_CACHE).await;
    let other = site.start_replica(LONG_CACHE).await;
    for _ in 0..5 {
        site.login().await;
    }
    let session = site.login().await;
    assert_eq!(other.token(&session).await.status, 200);
    let database = site.database().await;
    let newest = async || {
        let newest = sqlx::query_scalar("SELECT max(sequence) FROM events");
        newest.fetch_one(&database).await.unwrap()
    };
    let before: i64 = newest().await;
    let both_at = async |entry: i64| {
        eventually(&format!("both have read up to {entry}"), async || {
            log_position(&site).await == entry && log_position(&other).await == entry
        })
        .await;
    };
    both_at(before).await;
    sqlx::raw_sql(
        "DELETE FROM events WHERE sequence > 1; UPDATE sqlite_sequence SET seq = 1 WHERE name = 'events'",
    )
    .execute(&database)
    .await
    .unwrap();
    // Both replicas notice the loss.
    both_at(1).await;
    assert_eq!(other.token(&session).await.status, 200);
    let out = site.request(reqwest::Method::POST, "/logout");
    let out = crate::site::send_request(out.header("cookie", format!("berth={session}"))).await;
    assert_eq!(out.status, 204);
    assert!(newest().await < before, "the sequence number is used again");
    eventually("the other replica learns of the end", async || {
        other.token(&session).await.status == 401
    })
    .await;
}
