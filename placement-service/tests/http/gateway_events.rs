//! `/v1/gateways/{gateway}/events`: the events that gateways get.

use crate::events::CLIENTS;
use crate::reporting_gateway::{
    MINUTE_MS, ReportingGateway, count_open_streams, logout, post_report, request_as_operator,
    wait_for_gateways,
};
use crate::site::{Site, send_request};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn session_ends_are_sent_at_once_with_their_reason() {
    let site = Site::start(CLIENTS).await;
    let (first, second) = (site.login().await, site.login().await);
    let refs = [
        site.session_ref(&first).await,
        site.session_ref(&second).await,
    ];
    let mut before = ReportingGateway::new(&site, "before");
    assert_eq!(before.poll(25_000).await.get("events"), None, "at once");
    // This gateway starts from the same cursor, so its first report is a poll that waits. `berth_gateways` shows that
    // the report has arrived.
    let mut gateway = ReportingGateway::new(&site, "g");
    gateway.cursor.clone_from(&before.cursor);
    let ((reason, took), ()) = tokio::join!(gateway.wait_for_session_end(&refs[0]), async {
        wait_for_gateways(&site, 2).await;
        logout(&site, &first).await;
    });
    assert_eq!(reason, "revoked");
    assert!(took < Duration::from_secs(5), "by this poll: {took:?}");
    // No event repeats and no other one follows, so the poll waits.
    let started_at = Instant::now();
    assert_eq!(gateway.poll(300).await.get("events"), None);
    assert!(started_at.elapsed() >= Duration::from_millis(300));
    request_as_operator(&site, Method::DELETE, &format!("/v1/sessions/{}", refs[1])).await;
    assert_eq!(gateway.wait_for_session_end(&refs[1]).await.0, "revoked");
}

#[tokio::test]
async fn session_ends_on_another_replica_are_sent_too() {
    let site = Site::start(CLIENTS).await;
    let other = site.start_replica(CLIENTS).await;
    let id = site.login().await;
    let session = site.session_ref(&id).await;
    let mut gateway = ReportingGateway::new(&other, "g");
    gateway.report_opened(&session, &["a"]).await;
    gateway.poll(0).await;
    logout(&site, &id).await;
    assert_eq!(gateway.wait_for_session_end(&session).await.0, "revoked");
}

#[tokio::test]
async fn a_login_in_another_tab_lets_the_old_streams_reconnect() {
    let site = Site::start("").await;
    let id = site.login().await;
    let session = site.session_ref(&id).await;
    let mut gateway = ReportingGateway::new(&site, "g");
    gateway.poll(0).await;
    let body = format!("username=demo&password={}", crate::site::PASSWORD);
    let again = site.post_form("/login", &body);
    send_request(again.header("cookie", format!("berth={id}"))).await;
    assert_eq!(gateway.wait_for_session_end(&session).await.0, "expired");
}

#[tokio::test]
async fn an_idle_session_with_open_streams_ends_within_two_seconds_of_its_time() {
    let site = Site::start("").await;
    let id = site.login().await;
    let session = site.session_ref(&id).await;
    let mut gateway = ReportingGateway::new(&site, "g");
    gateway.poll(0).await;
    gateway.report_opened(&session, &["a"]).await;
    site.clock.advance_ms(30 * MINUTE_MS - 1);
    assert_eq!(gateway.poll(1000).await.get("events"), None, "not yet");
    // The wall clock has moved by half an hour, so the gateway lists its streams again.
    gateway.send_report(json!({"full": "whole", "opened": [{"stream": "a", "session_ref": session, "pool": "p", "engine": "e", "opened_at": 1}]})).await;
    site.clock.advance_ms(1 + 1_000);
    let (reason, took) = gateway.wait_for_session_end(&session).await;
    assert_eq!(reason, "expired");
    // Plus the second that is granted to other replicas.
    assert!(took < Duration::from_secs(5), "{took:?}");
    let ended = "berth_sessions_ended_total{cause=\"idle-timeout\"}";
    assert_eq!(site.metric(ended).await, 1);
}

#[tokio::test]
async fn a_session_end_missed_during_a_restart_is_sent_after_the_full_list() {
    let site = Site::start("").await;
    let (gone, lives) = (site.login().await, site.login().await);
    let refs = [
        site.session_ref(&gone).await,
        site.session_ref(&lives).await,
    ];
    let mut gateway = ReportingGateway::new(&site, "g");
    gateway.report_opened(&refs[0], &["a"]).await;
    gateway.report_opened(&refs[1], &["b"]).await;
    gateway.poll(0).await;
    let (cursor, sequence) = (gateway.cursor.clone(), gateway.sequence);
    logout(&site, &gone).await;
    let site = site.restart("").await;
    let mut gateway = ReportingGateway {
        site: &site,
        name: "g",
        sequence,
        cursor,
        identity: Value::Null,
    };
    // The new process does not know the gateway and cannot continue from its cursor.
    let answer = gateway.poll(25_000).await;
    assert_eq!(answer["resync"], true);
    assert_eq!(gateway.send_report(json!({})).await["resync"], true);
    let stream = |name: &str, session: &str| json!({"stream": name, "session_ref": session, "pool": "p", "engine": "e", "opened_at": 1});
    let first = json!({"full": "first", "opened": [stream("a", &refs[0])]});
    assert_eq!(gateway.send_report(first).await, json!({}));
    let last = json!({"full": "last", "opened": [stream("b", &refs[1])]});
    assert_eq!(gateway.send_report(last).await, json!({}));
    assert_eq!(count_open_streams(&site).await, 2);
    assert_eq!(gateway.wait_for_session_end(&refs[0]).await.0, "revoked");
    // The event may arrive twice, because a check may run before the list is complete. The other session is active.
    let more = gateway.poll(300).await;
    let more = more["events"].as_array().cloned().unwrap_or_default();
    let others: Vec<_> = more
        .iter()
        .filter(|event| event["session_ref"] != refs[0])
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(site.metric("berth_gateway_resyncs_total").await, 1);
}

#[tokio::test]
async fn an_unknown_cursor_causes_a_resync_and_a_new_cursor() {
    let site = Site::start("").await;
    let mut gateway = ReportingGateway::new(&site, "g");
    gateway.poll(0).await;
    let good = gateway.cursor.clone();
    for cursor in ["00000000000000ff-0", &format!("{}-9999", &good[..16])] {
        let started_at = Instant::now();
        let answer = gateway
            .send_report(json!({"cursor": cursor, "poll_timeout_ms": 20_000}))
            .await;
        assert_eq!(
            (&answer["resync"], &answer["cursor"]),
            (&json!(true), &json!(good))
        );
        assert!(started_at.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn open_polls_are_answered_on_shutdown() {
    let site = Site::start("shutdown_grace: 20s").await;
    let address = site.address;
    let mut gateway = ReportingGateway::new(&site, "g");
    gateway.poll(0).await;
    let report = json!({"sequence": 1, "cursor": gateway.cursor, "poll_timeout_ms": 25_000});
    let url = format!("http://{address}/v1/gateways/h/events");
    let client = berth_placement::core::http_client::client_builder()
        .build()
        .unwrap();
    let poll = client.post(url).body(report.to_string()).send();
    let poll = tokio::spawn(poll);
    wait_for_gateways(&site, 2).await;
    assert!(!poll.is_finished(), "the poll waits");
    let started_at = Instant::now();
    site.shut_down().await;
    assert_eq!(poll.await.unwrap().unwrap().status(), 200);
    assert!(started_at.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn polls_fail_while_the_event_log_is_unavailable() {
    let site = Site::start("").await;
    let mut gateway = ReportingGateway::new(&site, "g");
    gateway.poll(0).await;
    sqlx::query("DROP TABLE events")
        .execute(&site.database().await)
        .await
        .unwrap();
    let poll = json!({"sequence": 2, "cursor": gateway.cursor, "poll_timeout_ms": 20_000});
    let refused = post_report(&site, "g", &poll).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (503, "store-down")
    );
    // Reports are accepted all the same.
    assert_eq!(
        post_report(&site, "g", &json!({"sequence": 3}))
            .await
            .json(),
        json!({})
    );
}
