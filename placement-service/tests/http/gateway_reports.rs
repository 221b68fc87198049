//! `/v1/gateways/{gateway}/events`: what gateways report: streams, their activity, and invalid reports.

use crate::events::CLIENTS;
use crate::reporting_gateway::{
    MINUTE_MS, ReportingGateway, advance_monotonic_clock, count_open_streams, post_report,
    request_as_operator,
};
use crate::site::{Site, eventually};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

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
        "gateway": "g-1", "node": null, "address": "127.0.0.1", "version": null, "streams": 1, "sequence": 2, "silent_s": 0,
        "resync": false, "draining": false, "refusing": false,
    });
    assert_eq!(listed, json!({ "gateways": [view], "complete": true }));
    let anonymous = site.get("/v1/gateways", "").await;
    assert_eq!(anonymous.reason(), "unknown-client");
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
