//! `/v1/streams`: open streams of all replicas with their account, engine and Envoy; filters and pages; and the close of
//! one stream.

use crate::events::CLIENTS;
use crate::reporting_gateway::{ReportingGateway, request_as_operator};
use crate::site::{Site, eventually};
use berth_databases::Redis;
use berth_placement::core::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

/// A worker of an Envoy. Its first poll has been answered.
async fn worker<'a>(site: &'a Site, name: &'static str, node: &str) -> ReportingGateway<'a> {
    let mut gateway = ReportingGateway::new(site, name);
    gateway.identity = json!({"node": node, "version": "0.1.0", "uptime_ms": 60_000});
    gateway.poll(0).await;
    gateway
}

async fn list(site: &Site, query: &str) -> Value {
    let listed = request_as_operator(site, Method::GET, &format!("/v1/streams?{query}")).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    listed.json()
}

/// The names of the listed streams.
fn names(page: &Value) -> Vec<&str> {
    let streams = page["streams"].as_array().unwrap().iter();
    streams.map(|s| s["stream"].as_str().unwrap()).collect()
}

async fn close(site: &Site, stream: &str) -> (u16, String) {
    let path = format!("/v1/streams/{stream}");
    let closed = request_as_operator(site, Method::DELETE, &path).await;
    let reason = match closed.status {
        204 => String::new(),
        _ => closed.reason(),
    };
    (closed.status, reason)
}

#[tokio::test]
async fn an_operator_sees_where_each_stream_is() {
    let site = Site::start(CLIENTS).await;
    let session = site.session_ref(&site.login().await).await;
    let other_session = site.session_ref(&site.login().await).await;
    let mut gateway = worker(&site, "g-1", "edge-1").await;
    let now = site.clock.now_s();
    let keyed = json!({"stream": "b", "session_ref": session, "pool": "q", "engine": "f", "opened_at": now - 9, "key": "k"});
    gateway.report_opened(&other_session, &["c"]).await;
    gateway.report_opened("a-token", &["d"]).await;
    gateway.send_report(json!({ "opened": [keyed] })).await;
    gateway.report_opened(&session, &["a"]).await;
    site.clock.advance_ms(5_000);
    let page = list(&site, "").await;
    assert_eq!(
        (names(&page), &page["complete"]),
        (vec!["a", "b", "c", "d"], &json!(true))
    );
    assert_eq!(page.get("next"), None);
    assert_eq!(
        page["streams"][1],
        json!({"stream": "b", "session_ref": session, "account": "demo", "pool": "q", "engine": "f", "key": "k",
               "gateway": "g-1", "node": "edge-1", "opened_at": now - 9, "age_s": 14})
    );
    assert_eq!(page["streams"][0]["age_s"], 5);
    assert_eq!(page["streams"][3]["account"], Value::Null);

    let by_session = format!("session={other_session}");
    for (query, expected) in [
        ("account=demo", vec!["a", "b", "c"]),
        ("account=ada", vec![]),
        (by_session.as_str(), vec!["c"]),
        ("engine=f", vec!["b"]),
        ("pool=p", vec!["a", "c", "d"]),
        ("pool=p&engine=f", vec![]),
        ("account=demo&session=a-token", vec![]),
        ("account=demo&after=a&pool=p", vec!["c"]),
    ] {
        assert_eq!(names(&list(&site, query).await), expected, "{query}");
    }

    let sessions = request_as_operator(&site, Method::GET, "/v1/sessions?account=demo").await;
    let sessions = sessions.json();
    let engines_of = |session: &str| {
        let mut listed = sessions["sessions"].as_array().unwrap().iter();
        let found = listed.find(|one| one["session_ref"] == session);
        found.unwrap()["engines"].clone()
    };
    assert_eq!(
        engines_of(&other_session),
        json!([{"pool": "p", "engine": "e", "streams": 1}])
    );
    assert_eq!(
        engines_of(&session),
        json!([{"pool": "p", "engine": "e", "streams": 1}, {"pool": "q", "engine": "f", "streams": 1}])
    );
    assert_eq!(sessions["engines_complete"], true);
    let gateways = request_as_operator(&site, Method::GET, "/v1/gateways").await;
    let listed = &gateways.json()["gateways"][0];
    assert_eq!(
        (&listed["node"], &listed["address"]),
        (&json!("edge-1"), &json!("127.0.0.1"))
    );
}

#[tokio::test]
async fn the_gateway_of_a_stream_closes_it() {
    let site = Site::start(CLIENTS).await;
    let session = site.session_ref(&site.login().await).await;
    let mut gateway = worker(&site, "g-1", "edge-1").await;
    let mut other = worker(&site, "g-2", "edge-2").await;
    gateway.report_opened(&session, &["a", "b"]).await;
    assert_eq!(close(&site, "a").await, (204, String::new()));
    let ended = json!([{"type": "stream-ended", "stream": "a"}]);
    assert_eq!(gateway.poll(5_000).await["events"], ended);
    assert_eq!(other.poll(0).await["events"], Value::Null);
    let closed = json!([{"stream": "a", "reason": "closed-by-operator", "duration_ms": 5}]);
    gateway.send_report(json!({ "closed": closed })).await;
    let metric = "berth_streams_closed_total{reason=\"closed-by-operator\"}";
    assert_eq!(site.metric(metric).await, 1);
    for gone in ["a", "never", "a%20b"] {
        assert_eq!(close(&site, gone).await, (404, "no-such-stream".to_owned()));
    }
    assert_eq!(names(&list(&site, "").await), ["b"]);
    let anonymous = site.get("/v1/streams", "").await;
    assert_eq!(anonymous.reason(), "unknown-client");
    let unknown = request_as_operator(&site, Method::GET, "/v1/streams?acount=demo").await;
    assert_eq!(
        (unknown.status, unknown.reason().as_str()),
        (400, "invalid-request")
    );
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let site = Site::start(CLIENTS).await;
    let mut gateway = worker(&site, "g-1", "edge-1").await;
    let all: Vec<String> = (0..1_200).map(|n| format!("s{n:04}")).collect();
    for part in all.chunks(400) {
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        gateway.report_opened("a-token", &part).await;
    }
    let (mut listed, mut query, mut sizes) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = list(&site, &query).await;
        let of_page = names(&page);
        sizes.push(of_page.len());
        listed.extend(of_page.iter().map(|&name| name.to_owned()));
        match page["next"].as_str() {
            Some(next) => query = format!("after={next}"),
            None => break,
        }
    }
    assert_eq!((sizes, listed), (vec![500, 500, 200], all));
}

/// One replica is asked for the streams of both.
async fn check_replicas(one: &Site, two: &Site) {
    let session = one.session_ref(&one.login().await).await;
    let mut at_one = worker(one, "g-1", "edge-1").await;
    let mut at_two = worker(two, "g-2", "edge-2").await;
    let mut moving = worker(one, "g-3", "edge-3").await;
    at_one.report_opened(&session, &["a"]).await;
    at_two.report_opened(&session, &["b", "c"]).await;
    moving.report_opened(&session, &["d", "e"]).await;
    // The gateway moves to the other replica, and closes a stream. The first one does not know that yet.
    moving.site = two;
    let opened_at = one.clock.now_s();
    let left = json!([{"stream": "d", "session_ref": session, "pool": "p", "engine": "e", "opened_at": opened_at}]);
    moving
        .send_report(json!({"full": "whole", "opened": left}))
        .await;
    eventually("both replicas list all streams", async || {
        let (first, second) = (list(one, "account=demo").await, list(two, "").await);
        let all = ["a", "b", "c", "d"];
        first["complete"] == true && names(&first) == all && names(&second) == all
    })
    .await;
    assert_eq!(close(one, "c").await, (204, String::new()));
    let ended = json!([{"type": "stream-ended", "stream": "c"}]);
    assert_eq!(at_two.poll(5_000).await["events"], ended);
    assert_eq!(
        close(one, "never").await,
        (404, "no-such-stream".to_owned())
    );
    let listed = request_as_operator(one, Method::GET, "/v1/sessions?account=demo").await;
    let engines = json!([{"pool": "p", "engine": "e", "streams": 4}]);
    assert_eq!(listed.json()["sessions"][0]["engines"], engines);
}

#[tokio::test]
async fn every_replica_of_a_redis_lists_all_streams() {
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
async fn every_service_of_a_database_lists_all_streams() {
    let one = Site::start(CLIENTS).await;
    let two = one.start_replica(CLIENTS).await;
    check_replicas(&one, &two).await;
    let left =
        sqlx::query_scalar::<_, String>("SELECT name FROM notes WHERE name LIKE 'gateway-%'");
    let left = left.fetch_all(&one.database().await).await.unwrap();
    assert_eq!(left, [""; 0], "requests and answers are removed");
}

#[tokio::test]
async fn a_replica_that_does_not_answer_makes_the_list_incomplete() {
    let one = Site::start(CLIENTS).await;
    let two = one.start_replica(CLIENTS).await;
    let mut at_one = worker(&one, "g-1", "edge-1").await;
    let _at_two = worker(&two, "g-2", "edge-2").await;
    at_one.report_opened("a-token", &["a"]).await;
    eventually("the other replica is known", async || {
        let listed = request_as_operator(&one, Method::GET, "/v1/gateways").await;
        listed.json()["gateways"].as_array().unwrap().len() == 2
    })
    .await;
    let _stopped = two.shut_down().await;
    let page = list(&one, "").await;
    assert_eq!(
        (names(&page), &page["complete"]),
        (vec!["a"], &json!(false))
    );
    one.rename_table("notes", "notes_away").await;
    let page = list(&one, "").await;
    assert_eq!(
        (names(&page), &page["complete"]),
        (vec!["a"], &json!(false))
    );
    assert_eq!(close(&one, "b").await, (503, "store-down".to_owned()));
    assert_eq!(
        close(&one, "a").await.0,
        204,
        "the gateway reports to this replica"
    );
}
