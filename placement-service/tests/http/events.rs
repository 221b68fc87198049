//! `GET /v1/events`: order, waiting, filters, gaps, and two services on one store.

use crate::site::{Answer, Site, send_request};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// An operator, the site's own runtime, and another runtime.
pub(crate) const CLIENTS: &str = "api: { clients: [\
    { name: ops, role: operator, secret: { inline: operator-secret-1 } },\
    { name: berth, role: runtime, secret: { inline: runtime-secret-12 }, child_runtimes: [flows] },\
    { name: flows, role: runtime, secret: { inline: runtime-secret-34 } } ] }\n";

async fn request_events(site: &Site, query: &str, secret: &str) -> Answer {
    let request = site.request(Method::GET, &format!("/v1/events?{query}"));
    send_request(request.header("authorization", format!("Bearer {secret}"))).await
}

async fn read_events(site: &Site, query: &str) -> Value {
    let answer = request_events(site, query, "operator-secret-1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()
}

/// The current cursor.
async fn current_cursor(site: &Site) -> String {
    let page = read_events(site, "").await;
    assert_eq!((&page["events"], &page["gap"]), (&json!([]), &json!(false)));
    page["cursor"].as_str().unwrap().to_owned()
}

async fn read_events_after(site: &Site, cursor: &str) -> Value {
    read_events(site, &format!("cursor={cursor}")).await
}

/// `kind cause account` of each event.
fn format_events(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().unwrap().iter();
    let word = |event: &Value, field: &str| event[field].as_str().unwrap_or("-").to_owned();
    events
        .map(|e| {
            format!(
                "{} {} {}",
                word(e, "kind"),
                word(e, "cause"),
                word(e, "account")
            )
        })
        .collect()
}

async fn logout(site: &Site, id: &str) {
    let request = site.request(Method::POST, "/logout");
    send_request(request.header("cookie", format!("berth={id}"))).await;
}

#[tokio::test]
async fn events_are_read_in_order_and_only_by_authorized_clients() {
    let site = Site::start(CLIENTS).await;
    let begin = current_cursor(&site).await;
    let first = site.login().await;
    let second = site.login().await;
    let refs = [
        site.session_ref(&first).await,
        site.session_ref(&second).await,
    ];
    logout(&site, &first).await;
    let request = site.request(Method::DELETE, &format!("/v1/sessions/{}", refs[1]));
    send_request(request.header("authorization", "Bearer operator-secret-1")).await;
    let page = read_events_after(&site, &begin).await;
    assert_eq!(
        format_events(&page),
        [
            "created - demo",
            "created - demo",
            "logged-out logout demo",
            "revoked operator demo",
        ]
    );
    let events = page["events"].as_array().unwrap();
    assert_eq!(events[0]["session_ref"], refs[0]);
    assert_eq!(events[3]["session_ref"], refs[1]);
    assert_eq!(events[3]["cursor"], page["cursor"]);
    assert!(!page.to_string().contains(&first) && !page.to_string().contains(&second));
    // Page by page, then filtered by session.
    let one = read_events(&site, &format!("cursor={begin}&limit=1")).await;
    assert_eq!(one["events"], json!([events[0]]));
    let next = read_events(
        &site,
        &format!("cursor={}&limit=2", one["cursor"].as_str().unwrap()),
    )
    .await;
    assert_eq!(next["events"], json!([events[1], events[2]]));
    let of_one = read_events(&site, &format!("cursor={begin}&session={}", refs[0])).await;
    assert_eq!(of_one["events"], json!([events[0], events[2]]));
    assert_eq!(
        of_one["cursor"], page["cursor"],
        "the cursor passes the other events"
    );
    // A runtime reads the events of its own sessions only.
    let query = format!("cursor={begin}");
    let own = request_events(&site, &query, "runtime-secret-12")
        .await
        .json();
    assert_eq!(own["events"], page["events"]);
    let others = request_events(&site, &query, "runtime-secret-34")
        .await
        .json();
    assert_eq!(
        (&others["events"], &others["cursor"]),
        (&json!([]), &page["cursor"])
    );
    let nobody = request_events(&site, "", "wrong").await;
    assert_eq!(
        (nobody.status, nobody.reason().as_str()),
        (403, "unknown-client")
    );
}

#[tokio::test]
async fn a_reader_also_waits_for_events_of_another_replica() {
    let site = Site::start(CLIENTS).await;
    let other = site.start_replica(CLIENTS).await;
    let begin = current_cursor(&other).await;
    let query = format!("cursor={begin}&wait_s=25");
    let (page, took) = tokio::join!(read_events(&other, &query), async {
        // By now the reader waits, or else it reads the event at once. The page is the same.
        tokio::time::sleep(Duration::from_millis(50)).await;
        site.login().await;
        Instant::now()
    });
    assert!(
        took.elapsed() < Duration::from_secs(1),
        "{:?}",
        took.elapsed()
    );
    assert_eq!(format_events(&page), ["created - demo"]);
    // No further event follows: the wait ends with an unchanged cursor.
    let cursor = page["cursor"].as_str().unwrap();
    let started_at = Instant::now();
    let nothing = read_events(&other, &format!("cursor={cursor}&wait_s=1")).await;
    assert!(started_at.elapsed() >= Duration::from_secs(1));
    assert_eq!(
        nothing,
        json!({"cursor": cursor, "events": [], "gap": false})
    );
}

#[tokio::test]
async fn a_cursor_stays_valid_after_a_restart() {
    let site = Site::start(CLIENTS).await;
    let begin = current_cursor(&site).await;
    site.login().await;
    let site = site.restart(CLIENTS).await;
    site.login().await;
    let page = read_events_after(&site, &begin).await;
    assert_eq!(format_events(&page), ["created - demo", "created - demo"]);
    assert_eq!(page["gap"], false);
}

#[tokio::test]
async fn missed_events_are_reported_as_a_gap() {
    let site = Site::start(CLIENTS).await;
    let begin = current_cursor(&site).await;
    for _ in 0..4 {
        site.login().await;
    }
    let page = read_events_after(&site, &begin).await;
    let (events, newest) = (page["events"].as_array().unwrap(), &page["cursor"]);
    let second = events[1]["cursor"].as_str().unwrap();
    sqlx::query("DELETE FROM events WHERE sequence <= (SELECT max(sequence) FROM events) - 2")
        .execute(&site.database().await)
        .await
        .unwrap();
    let kept = json!([events[2], events[3]]);
    let missed = read_events_after(&site, &begin).await;
    assert_eq!((&missed["gap"], &missed["events"]), (&json!(true), &kept));
    let whole = read_events_after(&site, second).await;
    assert_eq!((&whole["gap"], &whole["events"]), (&json!(false), &kept));
    // A cursor of another log or from the future is answered at once, whatever `wait_s` is.
    let (log, sequence) = begin.split_once('-').unwrap();
    let other = format!("{}-{sequence}", log.chars().rev().collect::<String>());
    for cursor in [other, format!("{log}-9999"), format!("{log}-{}", u64::MAX)] {
        let page = read_events(&site, &format!("cursor={cursor}&wait_s=25")).await;
        assert_eq!(
            (&page["gap"], &page["events"]),
            (&json!(true), &kept),
            "{cursor}"
        );
        assert_eq!(&page["cursor"], newest);
    }
    let bad = request_events(&site, "cursor=x", "operator-secret-1").await;
    assert_eq!(
        (bad.status, bad.reason().as_str()),
        (400, "invalid-request")
    );
    assert_eq!(bad.json()["detail"], "cursor is not a cursor");
}
