//! What keys count: against the capacity of engines, against the limits of a route, and until when.

use crate::affinity::{numbered, place, placed, ready, start_engines, yaml};
use crate::engines::request_as_operator;
use crate::reporting_gateway::ReportingGateway;
use crate::site::{Answer, Site, eventually};
use berth_placement::core::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

const ROUTES: &str = "
  - { path: '/key/{room}', pool: p, http: allow, affinity: { key: 'k/{room}', counts: key } }
  - { path: '/streams/{room}', pool: p, http: allow, affinity: { key: 's/{room}' } }
  - { path: '/two/{room}', pool: p, affinity: { key: 't/{room}', streams: 2 } }
  - { path: '/few/{room}', pool: p, http: allow, affinity: { key: 'f/{room}', per_account: 2 } }
  - { path: '/doc/{document}', pool: p, affinity: { key: '{document}', mode: preferred, weight: 1 } }
";

fn refused(answer: &Answer) -> (u16, String, String) {
    let retry = answer.header("retry-after").to_owned();
    (answer.status, answer.reason(), retry)
}

/// The sessions of each engine, as the scheduler counts them.
async fn sessions(site: &Site) -> Vec<u64> {
    let listed = request_as_operator(site, Method::GET, "/v1/engines")
        .await
        .json();
    let engines = listed["engines"].as_array().unwrap().iter();
    engines
        .map(|engine| engine["sessions"].as_u64().unwrap())
        .collect()
}

async fn report_opened(gateway: &mut ReportingGateway<'_>, placed: &Value) {
    let opened = json!({"stream": placed["stream"], "session_ref": placed["session_ref"], "pool": "p",
        "engine": placed["engine"], "key": placed["affinity"]["key"], "opened_at": gateway.site.clock.now_s()});
    gateway.send_report(json!({ "opened": [opened] })).await;
}

async fn report_closed(gateway: &mut ReportingGateway<'_>, placed: &Value) {
    let closed = json!({"stream": placed["stream"], "reason": "ended", "duration_ms": 10});
    gateway.send_report(json!({ "closed": [closed] })).await;
}

#[tokio::test]
async fn a_key_needs_room_once_and_its_streams_need_none() {
    let engines = start_engines(2).await;
    let pool = "capacity: { per_engine: 1 },";
    let site = Site::start(&yaml(&numbered(&engines), pool, ROUTES)).await;
    let site = ready(site).await;
    let id = site.login().await;
    let first = placed(&place(&site, &id, "/key/a", false).await);
    let second = placed(&place(&site, &id, "/key/b", true).await);
    assert_ne!(first["engine"], second["engine"]);
    let full = place(&site, &id, "/key/c", false).await;
    assert_eq!(refused(&full).1, "engines-full");
    // Sticky keys do not spill.
    for _ in 0..3 {
        for upgrade in [true, false] {
            let joined = placed(&place(&site, &id, "/key/a", upgrade).await);
            assert_eq!(joined["engine"], first["engine"]);
        }
    }
    assert_eq!(sessions(&site).await, [1, 1]);
    let key = first["affinity"]["key"].as_str().unwrap();
    let path = format!("/v1/affinities/{key}");
    let released = request_as_operator(&site, Method::DELETE, &path).await;
    assert_eq!(released.status, 204, "{released:?}");
    let again = request_as_operator(&site, Method::DELETE, &path).await;
    assert_eq!(
        (again.status, again.reason()),
        (404, "no-such-key".to_owned())
    );
    // The streams of the released key are still expected.
    assert_eq!(site.metric("berth_keys ").await, 1);
}

#[tokio::test]
async fn a_key_counts_as_its_streams_and_once_without_any() {
    let engines = start_engines(1).await;
    let site = Site::start(&yaml(&numbered(&engines), "", ROUTES)).await;
    let site = ready(site).await;
    let id = site.login().await;
    let mut gateway = ReportingGateway::new(&site, "g");
    placed(&place(&site, &id, "/streams/a", false).await);
    assert_eq!(sessions(&site).await, [1]);
    let mut streams = Vec::new();
    for count in [1, 2, 3] {
        let stream = placed(&place(&site, &id, "/streams/a", true).await);
        report_opened(&mut gateway, &stream).await;
        streams.push(stream);
        assert_eq!(sessions(&site).await, [count]);
    }
    for (stream, count) in streams.iter().zip([2, 1, 1]) {
        report_closed(&mut gateway, stream).await;
        assert_eq!(sessions(&site).await, [count]);
    }
    // A key that counts once.
    placed(&place(&site, &id, "/key/a", true).await);
    placed(&place(&site, &id, "/key/a", true).await);
    assert_eq!(sessions(&site).await, [2]);
    let path = "/v1/placements/explain?path=/key/a";
    let explained = request_as_operator(&site, Method::GET, path).await.json();
    let key = &explained["key"];
    assert_eq!(
        (
            &explained["reason"],
            &key["mode"],
            &key["engine"],
            &key["streams"]
        ),
        (
            &json!("affinity"),
            &json!("sticky"),
            &json!("e0"),
            &json!(2)
        )
    );
    let idle_left_s = key["idle_left_s"].as_u64().unwrap();
    assert!((590..=600).contains(&idle_left_s), "{idle_left_s}");
    let path = "/v1/affinities?pool=p&engine=e0";
    let listed = request_as_operator(&site, Method::GET, path).await.json();
    assert_eq!(listed["affinities"].as_array().unwrap().len(), 2);
    assert_eq!(listed["affinities"][0]["engine"], "e0");
}

#[tokio::test]
async fn the_streams_of_a_key_and_the_keys_of_an_account_have_limits() {
    let engines = start_engines(2).await;
    let yaml = yaml(&numbered(&engines), "", ROUTES);
    let site = ready(Site::start(&yaml).await).await;
    let other = ready(site.start_replica(&yaml).await).await;
    let id = site.login().await;
    let mut gateway = ReportingGateway::new(&site, "g");
    let first = placed(&place(&site, &id, "/two/a", true).await);
    report_opened(&mut gateway, &first).await;
    placed(&place(&site, &id, "/two/a", true).await);
    let full = place(&site, &id, "/two/a", true).await;
    assert_eq!(refused(&full), (503, "key-full".to_owned(), "5".to_owned()));
    report_closed(&mut gateway, &first).await;
    placed(&place(&site, &id, "/two/a", true).await);

    // The keys of all routes to a pool with captures count together.
    placed(&place(&other, &id, "/few/a", false).await);
    for site in [&site, &other] {
        let refusal = place(site, &id, "/few/b", false).await;
        let expected = (429, "too-many-keys".to_owned(), "5".to_owned());
        assert_eq!(refused(&refusal), expected);
        placed(&place(site, &id, "/few/a", false).await);
    }
}

#[tokio::test]
async fn a_preferred_engine_gets_a_document_until_it_is_full() {
    let engines = start_engines(3).await;
    let pool = "strategy: round-robin, capacity: { per_engine: 2 },";
    let site = Site::start(&yaml(&numbered(&engines), pool, ROUTES)).await;
    let site = ready(site).await;
    let id = site.login().await;
    let mut names = Vec::new();
    for _ in 0..3 {
        let answer = placed(&place(&site, &id, "/doc/sales.qvf", true).await);
        assert_eq!(answer["affinity"], Value::Null);
        names.push(answer["engine"].clone());
    }
    assert_eq!(names[0], names[1]);
    assert_ne!(names[2], names[0], "spilled");
}

#[tokio::test]
async fn a_key_ends_with_its_time_without_activity_or_with_its_login() {
    let engines = start_engines(1).await;
    let routes = "
  - { path: '/rooms/{room}', pool: p, http: allow, affinity: { key: '{room}', idle: 7s } }
  - { path: '/own', pool: p, http: allow, affinity: { key: session } }";
    let yaml = yaml(&numbered(&engines), "", routes);
    let yaml = format!("edge: {{ cache: {{ ttl: 1s }} }}\n{yaml}");
    let site = ready(Site::start(&yaml).await).await;
    let id = site.login().await;
    let listed = async || {
        let listed = request_as_operator(&site, Method::GET, "/v1/affinities?pool=p").await;
        let listed = listed.json()["affinities"].as_array().unwrap().clone();
        listed
            .iter()
            .map(|key| key["key"].clone())
            .collect::<Vec<Value>>()
    };
    let own = placed(&place(&site, &id, "/own", false).await)["affinity"]["key"].clone();
    assert_eq!(listed().await, [own]);
    crate::reporting_gateway::logout(&site, &id).await;
    eventually("the key of the login is released", async || {
        listed().await.is_empty()
    })
    .await;

    let id = site.login().await;
    let key = |answer: &Answer| placed(answer)["affinity"]["key"].clone();
    let idle = key(&place(&site, &id, "/rooms/idle", false).await);
    let active = key(&place(&site, &id, "/rooms/active", false).await);
    let open = placed(&place(&site, &id, "/rooms/open", true).await);
    let mut gateway = ReportingGateway::new(&site, "g");
    report_opened(&mut gateway, &open).await;
    assert!(listed().await.contains(&idle));
    // The gateway reports activity of one key, another one has a stream, and the third has neither.
    let started = std::time::Instant::now();
    loop {
        gateway
            .send_report(json!({"active_keys": [active.clone()]}))
            .await;
        if site.metric("berth_keys ").await == 2 {
            break;
        }
        assert!(started.elapsed().as_secs() < 30, "never released");
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    assert!(started.elapsed().as_secs() >= 6, "too early");
    for (path, expected) in [
        ("/rooms/active", &active),
        ("/rooms/open", &open["affinity"]["key"]),
    ] {
        let again = placed(&place(&site, &id, path, false).await);
        assert_eq!(again["reason"], "affinity");
        assert_eq!(&again["affinity"]["key"], expected);
    }
    let again = placed(&place(&site, &id, "/rooms/idle", false).await);
    assert_ne!(again["reason"], "affinity", "it has lost its engine");
}
