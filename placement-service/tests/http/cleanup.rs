//! Sessions that end by time, with two replicas on one store.

use crate::site::{Site, eventually};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

const MINUTE_MS: u64 = 60_000;
const CLEANUP_CONFIG: &str = "session: { cookie: { secure: false }, reconcile: 50ms, \
                     cleanup: { interval: 50ms, batch: 2 } }";
/// The lease lasts for one and a half intervals: long enough that a replica on a loaded machine keeps it.
const LEASE_CONFIG: &str = "session: { cookie: { secure: false }, reconcile: 50ms, \
                     cleanup: { interval: 4s, batch: 2 } }";
const ENDED_IDLE: &str = "berth_sessions_ended_total{cause=\"idle-timeout\"}";
const CLEANUP_OK: &str = "berth_session_cleanup_runs_total{result=\"ok\"}";
const CLEANUP_NOT_LEADER: &str = "berth_session_cleanup_runs_total{result=\"not_leader\"}";

/// The number of `expired` events per session in the log.
async fn count_expired_events(site: &Site) -> HashMap<String, u32> {
    let events = sqlx::query_scalar::<_, String>("SELECT event FROM events");
    let events = events.fetch_all(&site.database().await).await.unwrap();
    let mut count = HashMap::new();
    for event in events {
        let event: Value = serde_json::from_str(&event).unwrap();
        if event["kind"] == "expired" {
            *count
                .entry(event["session_ref"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
    }
    count
}

#[tokio::test]
async fn one_of_two_replicas_cleans_up_and_the_other_takes_over() {
    let one = Site::start(LEASE_CONFIG).await;
    eventually("the first cleans up", async || {
        one.metric(CLEANUP_OK).await > 0
    })
    .await;
    let two = one.start_replica(LEASE_CONFIG).await;
    eventually("the second does not", async || {
        two.metric(CLEANUP_NOT_LEADER).await > 0
    })
    .await;
    for _ in 0..5 {
        one.login().await;
    }
    eventually("the sessions are counted", async || {
        two.metric("berth_sessions_active").await == 5
    })
    .await;
    one.clock.advance_ms(31 * MINUTE_MS);
    eventually("all are removed", async || one.session_rows().await == 0).await;
    // The lease is of the store's clock: it has not expired with that of the test.
    let ended = async || (one.metric(ENDED_IDLE).await, two.metric(ENDED_IDLE).await);
    eventually("each is counted", async || {
        ended().await.0 + ended().await.1 == 5
    })
    .await;
    let (first, second) = ended().await;
    assert!(first == 5 || second == 5, "{first} and {second}");
    let log = count_expired_events(&one).await;
    assert_eq!(log.len(), 5);
    assert!(log.values().all(|count| *count == 1), "{log:?}");
    eventually("none is counted", async || {
        two.metric("berth_sessions_active").await == 0
    })
    .await;

    let left = if first == 5 {
        one.shut_down().await;
        two
    } else {
        two.shut_down().await;
        one
    };
    left.login().await;
    left.clock.advance_ms(31 * MINUTE_MS);
    eventually("the other cleans up", async || {
        left.session_rows().await == 0
    })
    .await;
    assert_eq!(count_expired_events(&left).await.len(), 6);
}

#[tokio::test]
async fn cleanup_continues_after_a_store_error() {
    let site = Site::start(CLEANUP_CONFIG).await;
    site.login().await;
    site.rename_table("sessions", "elsewhere").await;
    site.clock.advance_ms(31 * MINUTE_MS);
    let failed = "berth_session_cleanup_runs_total{result=\"failed\"}";
    eventually("a run fails", async || site.metric(failed).await > 1).await;
    site.rename_table("elsewhere", "sessions").await;
    eventually("the row is removed", async || {
        site.session_rows().await == 0
    })
    .await;
    assert_eq!(
        count_expired_events(&site)
            .await
            .into_values()
            .collect::<Vec<_>>(),
        [1]
    );
}

#[tokio::test]
async fn an_expired_session_is_refused_before_any_cleanup() {
    let site = Site::start("").await;
    let id = site.login().await;
    site.clock.advance_ms(30 * MINUTE_MS - 1);
    let cookie = format!("berth={id}");
    assert_eq!(site.get("/is-authenticated", &cookie).await.status, 200);
    site.clock.advance_ms(1);
    assert_eq!(site.session_rows().await, 1);
    assert_eq!(site.get("/is-authenticated", &cookie).await.status, 401);
    let refused = site.token(&id).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (440, "session-expired")
    );
}

#[tokio::test]
async fn twenty_requests_over_two_replicas_get_one_anonymous_id_and_no_row() {
    let one = Site::start("").await;
    let two = one.start_replica("").await;
    let over = one.login().await;
    one.clock.advance_ms(31 * MINUTE_MS);
    let rows = one.session_rows().await;
    let mut all = HashSet::new();
    for cookie in [over, "u".repeat(43)] {
        let asked = (0..20).map(|n| [&one, &two][n % 2].token(&cookie));
        let answers = futures_util::future::join_all(asked).await;
        let ids: HashSet<String> = answers
            .iter()
            .map(|answer| {
                answer.json()["anonymous_cookie"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        all.extend(ids);
    }
    assert_eq!(all.len(), 2);
    assert!(one.session_rows().await <= rows, "none was written");
    let refused = |reason: &str| format!("berth_refusals_total{{reason=\"{reason}\"}}");
    let counted = async |reason: &str| {
        let refused = refused(reason);
        one.metric(&refused).await + two.metric(&refused).await
    };
    // A session that is found expired is removed soon. From then on it is unknown.
    let (expired, unknown) = (
        counted("session-expired").await,
        counted("unknown-session").await,
    );
    assert_eq!(expired + unknown, 40);
    assert!((1..=20).contains(&expired), "{expired}");
}

#[tokio::test]
async fn a_replica_that_never_saw_a_session_knows_how_it_ended() {
    let one = Site::start(CLEANUP_CONFIG).await;
    let never = "session: { cookie: { secure: false }, cleanup: { interval: 600s } }";
    let two = one.start_replica(never).await;
    let logged_out = one.login().await;
    let out = one.request(reqwest::Method::POST, "/logout");
    let out = crate::site::send_request(out.header("cookie", format!("berth={logged_out}"))).await;
    assert_eq!(out.status, 204);
    let over = one.login().await;
    one.clock.advance_ms(31 * MINUTE_MS);
    eventually("it is removed", async || one.session_rows().await == 0).await;
    eventually("the other replica knows the cause", async || {
        two.token(&over).await.reason() == "session-expired"
    })
    .await;
    assert_eq!(two.token(&over).await.status, 440);
    for id in [logged_out, "u".repeat(43)] {
        assert_eq!(two.token(&id).await.reason(), "unknown-session");
    }
}
