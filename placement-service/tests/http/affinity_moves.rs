//! Gateways of every replica learn that a key has moved and that an engine serves no keys any more; an engine that a
//! plain request has not reached is probed at once.

use crate::affinity::{numbered, place, placed, ready, start_engines, yaml};
use crate::engines::request_as_operator;
use crate::reporting_gateway::ReportingGateway;
use crate::site::{Site, eventually};
use reqwest::Method;
use serde_json::{Value, json};

const ROUTES: &str =
    "\n  - { path: '/rooms/{room}', pool: p, http: allow, affinity: { key: '{room}' } }";

/// Polls until an event of this type arrives.
async fn wait_for_event(gateway: &mut ReportingGateway<'_>, kind: &str) -> Value {
    let mut found = Value::Null;
    eventually(&format!("a {kind} event"), async || {
        let answer = gateway.poll(1_000).await;
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        let event = events.into_iter().find(|event| event["type"] == kind);
        found = event.unwrap_or_default();
        !found.is_null()
    })
    .await;
    found
}

#[tokio::test]
async fn every_gateway_learns_of_moves_and_of_closed_engines() {
    let engines = start_engines(2).await;
    let yaml = yaml(&numbered(&engines), "", ROUTES);
    let site = ready(Site::start(&yaml).await).await;
    let other = ready(site.start_replica(&yaml).await).await;
    let id = site.login().await;
    let first = placed(&place(&site, &id, "/rooms/a", false).await);
    assert_eq!(
        placed(&place(&other, &id, "/rooms/a", false).await)["engine"],
        first["engine"]
    );
    let mut gateway = ReportingGateway::new(&other, "g");
    gateway.poll(0).await;
    let engine = first["engine"].as_str().unwrap();
    let drain = format!("/v1/engines/p/{engine}/drain?over=0s");
    let drained = request_as_operator(&site, Method::POST, &drain).await;
    assert_eq!(drained.status, 200, "{drained:?}");
    let closed = wait_for_event(&mut gateway, "engine-closed").await;
    assert_eq!(
        (&closed["pool"], &closed["engine"]),
        (&json!("p"), &first["engine"])
    );
    let moved = placed(&place(&site, &id, "/rooms/a", false).await);
    assert_ne!(moved["engine"], first["engine"]);
    let event = wait_for_event(&mut gateway, "key-moved").await;
    let affinity = &moved["affinity"];
    assert_eq!(
        (&event["key"], &event["epoch"]),
        (&affinity["key"], &affinity["epoch"])
    );
    // The other replica knows the engine of the key now, without a wait for its cache.
    let there = placed(&place(&other, &id, "/rooms/a", false).await);
    assert_eq!(there["engine"], moved["engine"]);
    let key = affinity["key"].as_str().unwrap();
    let released =
        request_as_operator(&site, Method::DELETE, &format!("/v1/affinities/{key}")).await;
    assert_eq!(released.status, 204);
    let event = wait_for_event(&mut gateway, "key-moved").await;
    assert!(event["epoch"].as_u64() > affinity["epoch"].as_u64());
    // Readers of the log get the events of sessions only.
    let log = request_as_operator(&site, Method::GET, "/v1/events?cursor=begin").await;
    assert!(!log.text.contains("key-moved"), "{log:?}");
}

#[tokio::test]
async fn an_engine_that_a_plain_request_has_not_reached_is_probed_at_once() {
    let mut engines = start_engines(2).await;
    let yaml = yaml(&numbered(&engines), "", ROUTES).replace("interval: 200ms", "interval: 10m");
    let site = ready(Site::start(&yaml).await).await;
    let state = async || {
        let listed = request_as_operator(&site, Method::GET, "/v1/engines")
            .await
            .json();
        listed["engines"][1]["state"].clone()
    };
    drop(engines.remove(1));
    assert_ne!(state().await, "unhealthy");
    let mut gateway = ReportingGateway::new(&site, "g");
    let failed = json!([{"pool": "p", "engine": "e1"}, {"pool": "p", "engine": "gone"}, {"pool": "x", "engine": "e1"}]);
    gateway
        .send_report(json!({ "failed_engines": failed }))
        .await;
    eventually("the engine is unhealthy", async || {
        state().await == "unhealthy"
    })
    .await;
}

#[tokio::test]
async fn the_key_of_a_replaced_engine_moves_though_name_and_address_are_the_same() {
    let engines = start_engines(1).await;
    let port = engines[0].port;
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("engines.yaml");
    let write = |incarnation: &str| {
        let engine =
            json!({"name": "e0", "ip": "127.0.0.1", "port": port, "incarnation": incarnation});
        let next = folder.path().join("next.yaml");
        std::fs::write(&next, json!({ "engines": [engine] }).to_string()).unwrap();
        std::fs::rename(&next, &list).unwrap();
    };
    write("first");
    let file = format!("file: {{ path: '{}', poll: 100ms }}", list.display());
    let yaml = yaml(&[], "", ROUTES).replace("static: [  ]", &file);
    let site = ready(Site::start(&yaml).await).await;
    let id = site.login().await;
    let epoch =
        async || placed(&place(&site, &id, "/rooms/a", false).await)["affinity"]["epoch"].clone();
    let first = epoch().await;
    assert_eq!(epoch().await, first);
    write("second");
    eventually("the key has moved", async || {
        let answer = place(&site, &id, "/rooms/a", false).await;
        // While the new engine is probed for the first time, the pool has none.
        answer.status == 200 && answer.json()["affinity"]["epoch"] != first
    })
    .await;
}
