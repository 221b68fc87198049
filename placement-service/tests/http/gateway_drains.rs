//! `/v1/gateways/{node}/drain`: which gateways are notified of a drain and of its end, after restarts and over replicas.

use crate::engines::request_as_operator;
use crate::events::CLIENTS;
use crate::reporting_gateway::ReportingGateway;
use crate::site::{Site, eventually};
use berth_databases::Redis;
use berth_placement::core::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

const DRAIN: &str = "/v1/gateways/edge-1/drain";

/// A worker of an Envoy that has run for a minute. Its first poll has been answered.
async fn worker<'a>(site: &'a Site, name: &'static str, node: &str) -> ReportingGateway<'a> {
    let mut gateway = ReportingGateway::new(site, name);
    gateway.identity = json!({"node": node, "version": "0.1.0", "uptime_ms": 60_000});
    gateway.poll(0).await;
    gateway
}

/// The events of the next poll, which waits for one if there is none yet.
async fn next_events(gateway: &mut ReportingGateway<'_>) -> Value {
    gateway.poll(5_000).await["events"].clone()
}

/// The events that have been sent already.
async fn sent_events(gateway: &mut ReportingGateway<'_>) -> Value {
    gateway.poll(0).await["events"].clone()
}

fn drained(over_ms: u64) -> Value {
    json!([{"type": "gateway-drained", "over_ms": over_ms}])
}

fn refusing(over_ms: u64) -> Value {
    json!([{"type": "gateway-drained", "over_ms": over_ms, "refuse": true}])
}

fn undrained() -> Value {
    json!([{"type": "gateway-undrained"}])
}

async fn drain(site: &Site, path: &str) -> Value {
    let answer = request_as_operator(site, Method::POST, path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn list_gateways(site: &Site) -> Value {
    let listed = request_as_operator(site, Method::GET, "/v1/gateways").await;
    listed.json()["gateways"].clone()
}

#[tokio::test]
async fn the_workers_of_a_drained_envoy_are_notified_and_no_others() {
    let site = Site::start(CLIENTS).await;
    let session = site.session_ref(&site.login().await).await;
    let mut first = worker(&site, "g-1", "edge-1").await;
    let mut second = worker(&site, "g-2", "edge-1").await;
    let mut other = worker(&site, "g-3", "edge-2").await;
    first.report_opened(&session, &["a", "b"]).await;
    let answer = drain(&site, &format!("{DRAIN}?over=90s")).await;
    let since = site.clock.now_ms() / 1000;
    assert_eq!(
        answer,
        json!({"node": "edge-1", "gateways": 2, "streams": 2, "drained_at": since, "drained_over_s": 90.0, "refusing": false})
    );
    assert_eq!(next_events(&mut first).await, drained(90_000));
    assert_eq!(next_events(&mut second).await, drained(90_000));
    assert_eq!(sent_events(&mut other).await, Value::Null);
    let listed = list_gateways(&site).await;
    let flags = |index: usize| (&listed[index]["node"], &listed[index]["draining"]);
    assert_eq!(flags(0), (&json!("edge-1"), &json!(true)));
    assert_eq!(flags(2), (&json!("edge-2"), &json!(false)));
    assert_eq!(site.metric("berth_gateways_draining").await, 2);

    // Another drain with other settings is sent, too; a lone worker that appears meanwhile gets the time that is left.
    drain(&site, &format!("{DRAIN}?over=60s&refuse=true")).await;
    assert_eq!(next_events(&mut first).await, refusing(60_000));
    site.clock.advance_ms(20_000);
    let mut late = worker(&site, "g-4", "edge-1").await;
    assert_eq!(next_events(&mut late).await, refusing(40_000));

    let ended = request_as_operator(&site, Method::DELETE, DRAIN).await;
    assert_eq!(ended.status, 204);
    for gateway in [&mut first, &mut second, &mut late] {
        let events = next_events(gateway).await;
        assert_eq!(
            events.as_array().unwrap().last(),
            undrained().as_array().unwrap().last()
        );
    }
    assert_eq!(sent_events(&mut other).await, Value::Null);
    assert_eq!(site.metric("berth_gateways_draining").await, 0);
}

#[tokio::test]
async fn an_envoy_that_restarts_under_its_id_is_not_drained() {
    let site = Site::start(CLIENTS).await;
    let mut before = worker(&site, "g-1", "edge-1").await;
    drain(&site, DRAIN).await;
    assert_eq!(next_events(&mut before).await, drained(60_000));
    site.clock.advance_ms(10_000);
    let mut after = ReportingGateway::new(&site, "g-2");
    after.identity = json!({"node": "edge-1", "uptime_ms": 5_000});
    after.poll(0).await;
    let mut idle = worker(&site, "g-3", "edge-1").await;
    assert_eq!(next_events(&mut idle).await, drained(50_000));
    assert_eq!(sent_events(&mut after).await, Value::Null);
}

#[tokio::test]
async fn sockets_that_remain_after_a_drain_are_closed_again() {
    let site = Site::start(CLIENTS).await;
    let session = site.session_ref(&site.login().await).await;
    let mut gateway = worker(&site, "g-1", "edge-1").await;
    drain(&site, &format!("{DRAIN}?over=20s")).await;
    assert_eq!(next_events(&mut gateway).await, drained(20_000));
    gateway.report_opened(&session, &["late"]).await;
    site.clock.advance_ms(20_000);
    assert_eq!(next_events(&mut gateway).await, drained(5_000));
    site.clock.advance_ms(30_000);
    assert_eq!(next_events(&mut gateway).await, drained(5_000));
    let closed = json!([{"stream": "late", "reason": "drained", "duration_ms": 5}]);
    gateway.send_report(json!({ "closed": closed })).await;
    site.clock.advance_ms(30_000);
    // Longer than the interval of the task that sends events.
    assert_eq!(gateway.poll(2_500).await["events"], Value::Null);
}

#[tokio::test]
async fn a_drain_survives_a_restart_of_the_service_and_so_does_its_end() {
    let site = Site::start(CLIENTS).await;
    let mut gateway = worker(&site, "g-1", "edge-1").await;
    drain(&site, &format!("{DRAIN}?over=60s&refuse=true")).await;
    assert_eq!(next_events(&mut gateway).await, refusing(60_000));
    site.clock.advance_ms(10_000);
    let site = site.restart(CLIENTS).await;
    let mut gateway = worker(&site, "g-1", "edge-1").await;
    assert_eq!(next_events(&mut gateway).await, refusing(50_000));

    // The drain ends while the gateway reports to no process: it still says that it refuses.
    let ended = request_as_operator(&site, Method::DELETE, DRAIN).await;
    assert_eq!(ended.status, 204);
    let site = site.restart(CLIENTS).await;
    let mut gateway = ReportingGateway::new(&site, "g-1");
    gateway.identity = json!({"node": "edge-1", "uptime_ms": 60_000, "refusing": true});
    gateway.poll(0).await;
    assert_eq!(next_events(&mut gateway).await, undrained());
}

/// One replica is asked, and gateways of both are drained and counted.
async fn check_replicas(one: &Site, two: &Site) {
    let session = one.session_ref(&one.login().await).await;
    let mut at_one = worker(one, "g-1", "edge-1").await;
    let mut at_two = worker(two, "g-2", "edge-1").await;
    let mut moving = worker(one, "g-3", "edge-1").await;
    at_one.report_opened(&session, &["a"]).await;
    at_two.report_opened(&session, &["b", "c"]).await;
    moving.report_opened(&session, &["d"]).await;
    // The gateway moves to the other replica, where it lists two streams. The first one does not know that yet.
    moving.site = two;
    moving.report_opened(&session, &["d", "e"]).await;
    let count = async |site: &Site| {
        let listed = list_gateways(site).await;
        let gateways = listed.as_array().unwrap().iter();
        gateways
            .map(|gateway| gateway["streams"].as_u64().unwrap())
            .sum::<u64>()
    };
    eventually("both replicas count all streams", async || {
        count(one).await == 5 && count(two).await == 5
    })
    .await;
    let drained_now = drain(one, &format!("{DRAIN}?over=60s")).await;
    assert_eq!(
        (&drained_now["gateways"], &drained_now["streams"]),
        (&json!(3), &json!(5))
    );
    assert_eq!(next_events(&mut at_one).await, drained(60_000));
    assert_eq!(next_events(&mut at_two).await, drained(60_000));
    let closed = json!([{"stream": "b", "reason": "drained", "duration_ms": 5}]);
    at_two.send_report(json!({ "closed": closed })).await;
    eventually("the first replica counts what is left", async || {
        count(one).await == 4
    })
    .await;
    let ended = request_as_operator(two, Method::DELETE, DRAIN).await;
    assert_eq!(ended.status, 204);
    assert_eq!(next_events(&mut at_two).await, undrained());
    assert_eq!(next_events(&mut at_one).await, undrained());
}

#[tokio::test]
async fn a_drain_holds_on_every_replica_of_a_redis() {
    let redis = Redis::shared().await.unwrap();
    let store = format!(
        "{CLIENTS}store: {{ kind: redis, url: {{ inline: \"{}\" }}, timeout: 10s }}",
        redis.database()
    );
    let one = Site::start(&store).await;
    let two = one.start_replica(&store).await;
    check_replicas(&one, &two).await;
}

#[tokio::test]
async fn a_drain_holds_on_every_service_of_a_database() {
    let one = Site::start(CLIENTS).await;
    let two = one.start_replica(CLIENTS).await;
    check_replicas(&one, &two).await;
}

#[tokio::test]
async fn without_the_store_the_list_says_that_it_is_incomplete() {
    let site = Site::start(CLIENTS).await;
    let _gateway = worker(&site, "g-1", "edge-1").await;
    site.rename_table("notes", "notes_away").await;
    let listed = request_as_operator(&site, Method::GET, "/v1/gateways").await;
    let listed = listed.json();
    assert_eq!(listed["complete"], false, "{listed}");
    assert_eq!(listed["gateways"][0]["gateway"], "g-1");
    let refused = request_as_operator(&site, Method::POST, DRAIN).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (503, "store-down")
    );
}

#[tokio::test]
async fn invalid_requests_name_their_fault() {
    let site = Site::start(CLIENTS).await;
    let long = format!("/v1/gateways/{}/drain", "x".repeat(257));
    for (path, fault) in [
        (format!("{DRAIN}?over=soon"), "over: "),
        (format!("{DRAIN}?over=25h"), "over: "),
        (format!("{DRAIN}?refuse=yes"), "refuse: "),
        (format!("{DRAIN}?ower=1s"), "ower: "),
        ("/v1/gateways/a%20b/drain".to_owned(), "node is not "),
        ("/v1/gateways/%FF/drain".to_owned(), "node is not "),
        (long, "node is not "),
    ] {
        let refused = request_as_operator(&site, Method::POST, &path).await;
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (400, "invalid-request"),
            "{path}"
        );
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(fault), "{path}: {detail}");
    }
    let anonymous = site.post_json(DRAIN, "").await;
    assert_eq!(anonymous.reason(), "unknown-client");
}
