//! `/v1/gateways/{gateway}/events`: what gateways report, and the events that they get.

use crate::events::CLIENTS;
use crate::site::{Answer, Site, eventually, send_request};
use berth_placement::core::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const MINUTE_MS: u64 = 60_000;

/// A gateway that numbers its reports.
pub(crate) struct ReportingGateway<'a> {
    pub(crate) site: &'a Site,
    name: &'static str,
    sequence: u64,
    cursor: String,
    /// What it says of itself in each poll.
    pub(crate) identity: Value,
}

impl<'a> ReportingGateway<'a> {
    pub(crate) const fn new(site: &'a Site, name: &'static str) -> Self {
        Self {
            site,
            name,
            sequence: 0,
            cursor: String::new(),
            identity: Value::Null,
        }
    }

    pub(crate) async fn send_report(&mut self, mut report: Value) -> Value {
        self.sequence += 1;
        report["sequence"] = json!(self.sequence);
        let answer = post_report(self.site, self.name, &report).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Reports opened streams of a session.
    pub(crate) async fn report_opened(&mut self, session_ref: &str, streams: &[&str]) -> Value {
        let now = self.site.clock.now_s();
        let open = |name: &&str| json!({"stream": name, "session_ref": session_ref, "pool": "p", "engine": "e", "opened_at": now});
        let opened: Vec<_> = streams.iter().map(open).collect();
        self.send_report(json!({ "opened": opened })).await
    }

    /// Polls from the last cursor. Returns the answer.
    pub(crate) async fn poll(&mut self, hold_ms: u32) -> Value {
        let cursor = if self.cursor.is_empty() {
            "now"
        } else {
            &self.cursor
        };
        let answer = self
            .send_report(json!({"cursor": cursor, "hold_ms": hold_ms, "identity": self.identity}))
            .await;
        answer["cursor"]
            .as_str()
            .unwrap()
            .clone_into(&mut self.cursor);
        answer
    }

    /// Polls until the event of the session's end arrives. Returns its reason and how long that took.
    async fn wait_for_session_end(&mut self, session_ref: &str) -> (String, Duration) {
        let began = Instant::now();
        loop {
            let answer = self.poll(5000).await;
            let events = answer["events"].as_array().cloned().unwrap_or_default();
            let found = events.iter().find(|e| e["session_ref"] == session_ref);
            if let Some(event) = found {
                assert_eq!(event["type"], "session-ended");
                return (
                    event["reason"].as_str().unwrap().to_owned(),
                    began.elapsed(),
                );
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "the event never arrives"
            );
        }
    }
}

async fn post_report(site: &Site, gateway: &str, report: &Value) -> Answer {
    let path = format!("/v1/gateways/{gateway}/events");
    site.post_json(&path, report).await
}

/// Waits until this number of gateways has reported. The poll of the last one may still be open.
async fn wait_for_gateways(site: &Site, gateways: u64) {
    eventually(&format!("{gateways} gateways have reported"), async || {
        site.metric("berth_gateways").await == gateways
    })
    .await;
}

pub(crate) async fn advance_monotonic_clock(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

async fn logout(site: &Site, id: &str) {
    let request = site.request(Method::POST, "/logout");
    send_request(request.header("cookie", format!("berth={id}"))).await;
}

async fn count_open_streams(site: &Site) -> u64 {
    site.metric("berth_streams{pool=\"p\",engine=\"e\"}").await
}

async fn request_as_operator(site: &Site, method: Method, path: &str) -> Answer {
    let request = site.request(method, path);
    send_request(request.header("authorization", "Bearer operator-secret-1")).await
}

#[tokio::test]
async fn streams_are_counted_as_they_open_and_close() {
    let site = Site::start(CLIENTS).await;
    let session = site.session_ref(&site.login().await).await;
    let mut gateway = ReportingGateway::new(&site, "g-1");
    assert_eq!(
        gateway.report_opened(&session, &["a", "b"]).await,
        json!({})
    );
    assert_eq!(count_open_streams(&site).await, 2);
    assert_eq!(site.metric("berth_gateways").await, 1);
    let closed = json!([{"stream": "a", "reason": "ended", "duration_ms": 5}]);
    gateway.send_report(json!({ "closed": closed })).await;
    assert_eq!(count_open_streams(&site).await, 1);
    let ended = "berth_streams_closed_total{reason=\"ended\"}";
    assert_eq!(site.metric(ended).await, 1);
    let listed = request_as_operator(&site, Method::GET, "/v1/gateways")
        .await
        .json();
    let view = json!({
        "gateway": "g-1", "node": null, "version": null, "streams": 1, "sequence": 2, "silent_s": 0,
        "resync": false, "draining": false, "refusing": false,
    });
    assert_eq!(listed, json!({ "gateways": [view], "complete": true }));
    let nobody = site.get("/v1/gateways", "").await;
    assert_eq!(nobody.reason(), "unknown-client");
    // The other stream is lost with the gateway, after 30 s of the monotonic clock. The wall clock does not matter.
    advance_monotonic_clock(Duration::from_secs(30)).await;
    eventually("the gateway is forgotten", async || {
        site.metric("berth_gateways").await == 0
    })
    .await;
    assert_eq!(count_open_streams(&site).await, 0);
    let lost = "berth_streams_closed_total{reason=\"lost\"}";
    assert_eq!(site.metric(lost).await, 1);
}

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
    let began = Instant::now();
    assert_eq!(gateway.poll(300).await.get("events"), None);
    assert!(began.elapsed() >= Duration::from_millis(300));
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
async fn activity_of_streams_renews_a_session_but_late_activity_does_not() {
    let site = Site::start("").await;
    let id = site.login().await;
    let session = site.session_ref(&id).await;
    let mut gateway = ReportingGateway::new(&site, "g");
    for _ in 0..3 {
        site.clock.advance_ms(29 * MINUTE_MS);
        gateway
            .send_report(json!({"active": [session, "nobody"]}))
            .await;
    }
    let left = site.get("/session", &format!("berth={id}")).await.json();
    assert_eq!(left["idle_remaining_s"], 30 * 60);
    site.clock.advance_ms(30 * MINUTE_MS);
    gateway.send_report(json!({"active": [session]})).await;
    assert_eq!(site.token(&id).await.reason(), "session-expired");
}

#[tokio::test]
async fn activity_survives_a_restart_of_the_service() {
    let site = Site::start("").await;
    let id = site.login().await;
    let session = site.session_ref(&id).await;
    let site = site.restart("").await;
    site.clock.advance_ms(29 * MINUTE_MS);
    let mut gateway = ReportingGateway::new(&site, "g");
    gateway.send_report(json!({"active": [session]})).await;
    let site = site.restart("").await;
    site.clock.advance_ms(29 * MINUTE_MS);
    assert_eq!(site.token(&id).await.status, 200);
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
async fn a_lost_report_is_detected_and_a_reordered_one_is_not_lost() {
    let site = Site::start("").await;
    let report = |sequence: u64| json!({ "sequence": sequence });
    post_report(&site, "g", &report(1)).await;
    // The third report overtakes the second.
    let (third, second) = (report(3), report(2));
    let (third, second) = tokio::join!(post_report(&site, "g", &third), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        post_report(&site, "g", &second).await
    });
    assert_eq!((third.json(), second.json()), (json!({}), json!({})));
    assert_eq!(
        post_report(&site, "g", &report(5)).await.json(),
        json!({"resync": true})
    );
    assert_eq!(
        post_report(&site, "g", &report(4)).await.json(),
        json!({"resync": true})
    );
    let whole = json!({"sequence": 6, "full": "whole"});
    assert_eq!(post_report(&site, "g", &whole).await.json(), json!({}));
    assert_eq!(site.metric("berth_gateway_resyncs_total").await, 1);
}

#[tokio::test]
async fn an_unknown_cursor_causes_a_resync_and_a_new_cursor() {
    let site = Site::start("").await;
    let mut gateway = ReportingGateway::new(&site, "g");
    gateway.poll(0).await;
    let good = gateway.cursor.clone();
    for cursor in ["00000000000000ff-0", &format!("{}-9999", &good[..16])] {
        let began = Instant::now();
        let answer = gateway
            .send_report(json!({"cursor": cursor, "hold_ms": 20_000}))
            .await;
        assert_eq!(
            (&answer["resync"], &answer["cursor"]),
            (&json!(true), &json!(good))
        );
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn open_polls_are_answered_on_shutdown() {
    let site = Site::start("shutdown_grace: 20s").await;
    let address = site.address;
    let mut gateway = ReportingGateway::new(&site, "g");
    gateway.poll(0).await;
    let report = json!({"sequence": 1, "cursor": gateway.cursor, "hold_ms": 25_000});
    let url = format!("http://{address}/v1/gateways/h/events");
    let client = berth_placement::core::http_client::client_builder()
        .build()
        .unwrap();
    let poll = client.post(url).body(report.to_string()).send();
    let poll = tokio::spawn(poll);
    wait_for_gateways(&site, 2).await;
    assert!(!poll.is_finished(), "the poll waits");
    let began = Instant::now();
    site.shut_down().await;
    assert_eq!(poll.await.unwrap().unwrap().status(), 200);
    assert!(began.elapsed() < Duration::from_secs(10));
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
    let poll = json!({"sequence": 2, "cursor": gateway.cursor, "hold_ms": 20_000});
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

#[tokio::test]
async fn invalid_reports_name_the_field() {
    let site = Site::start("gateways: { secret: { inline: gateway-secret-1 } }").await;
    let none = post_report(&site, "g", &json!({"sequence": 1})).await;
    assert_eq!(
        (none.status, none.reason().as_str()),
        (403, "unknown-gateway")
    );
    let site = Site::start("").await;
    for (gateway, report, detail) in [
        ("g", json!({}), "sequence is missing"),
        (
            "g",
            json!({"sequence": "x"}),
            "sequence is of the wrong type",
        ),
        (
            "g",
            json!({"sequence": 0}),
            "sequence is 0, and begins with 1",
        ),
        (
            "a%20b",
            json!({"sequence": 1}),
            "gateway is not 1 to 64 of A-Z a-z 0-9 - . _",
        ),
        (
            "g",
            json!({"sequence": 1, "cursor": "x"}),
            "cursor is not a cursor",
        ),
        (
            "g",
            json!({"sequence": 1, "closed": [{"stream": "s", "reason": "whim", "duration_ms": 1}]}),
            "closed[0].reason is of the wrong type",
        ),
        (
            "g",
            json!({"sequence": 1, "closed": [{"stream": "n".repeat(65), "reason": "ended", "duration_ms": 1}]}),
            "closed[0].stream is not a stream's name",
        ),
    ] {
        let answer = post_report(&site, gateway, &report).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "invalid-request")
        );
        assert_eq!(answer.json()["detail"], detail);
    }
    // The largest valid report.
    let name = "n".repeat(64);
    let open = json!({"stream": name, "session_ref": name, "pool": "p".repeat(256), "engine": "e".repeat(256), "opened_at": u64::MAX});
    let closed = json!({"stream": name, "reason": "refused", "duration_ms": u64::MAX, "bytes_received": u64::MAX, "bytes_sent": u64::MAX});
    let largest = json!({"sequence": 1, "opened": vec![open; 500], "closed": vec![closed; 500], "active": vec![name; 500]});
    assert_eq!(post_report(&site, "g", &largest).await.status, 200);
    let larger = "x".repeat(1024 * 1024 + 1);
    let large = site.post_json("/v1/gateways/g/events", larger).await;
    assert_eq!(
        (large.status, large.reason().as_str()),
        (413, "body-too-large")
    );
}
