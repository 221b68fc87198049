//! Keys when engines, the store or clients fail.

use crate::affinity::{ROUTES, numbered, place, placed, ready, refused, start_engines, yaml};
use crate::engines::request_as_operator;
use crate::events::CLIENTS;
use crate::site::{Site, eventually, send_request};
use berth_engine_sim::{Document, Options};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_key_stays_on_an_engine_that_fails_until_the_time_of_its_route() {
    let mut engines = start_engines(2).await;
    let routes = "
  - { path: '/patient/{room}', pool: p, http: allow, affinity: { key: 'p/{room}', replace_after: 1h } }
  - { path: '/hasty/{room}', pool: p, http: allow, affinity: { key: 'h/{room}', replace_after: 0s } }";
    let site = Site::start(&yaml(&numbered(&engines), "", routes)).await;
    let site = ready(site).await;
    let id = site.login().await;
    let engine_of =
        async |path: &str| placed(&place(&site, &id, path, false).await)["engine"].clone();
    // Two keys on the same engine.
    let patient = engine_of("/patient/a").await;
    let mut hasty = String::new();
    for number in 0.. {
        hasty = format!("/hasty/{number}");
        if engine_of(&hasty).await == patient {
            break;
        }
    }
    let failed = usize::from(patient == "e1");
    drop(engines.remove(failed));
    eventually("the engine is unhealthy", async || {
        let listed = request_as_operator(&site, Method::GET, "/v1/engines")
            .await
            .json();
        listed["engines"][failed]["state"] == "unhealthy"
    })
    .await;
    let answer = place(&site, &id, "/patient/a", false).await;
    assert_eq!(refused(&answer), (503, "engine-failed".to_owned()));
    assert_eq!(answer.header("retry-after"), "1");
    assert_ne!(engine_of(&hasty).await, patient);
    assert_ne!(engine_of("/patient/new").await, patient);
}

#[tokio::test]
async fn while_the_store_is_down_keys_in_memory_keep_their_engines() {
    let engines = start_engines(1).await;
    let site = Site::start(&yaml(&numbered(&engines), "", ROUTES)).await;
    let site = ready(site).await;
    let id = site.login().await;
    placed(&place(&site, &id, "/rooms/a", false).await);
    site.rename_table("affinity", "affinity_gone").await;
    let started = Instant::now();
    // For longer than a key is cached.
    while started.elapsed() < Duration::from_secs(6) {
        placed(&place(&site, &id, "/rooms/a", false).await);
        let new = place(&site, &id, "/rooms/b", false).await;
        assert_eq!(refused(&new), (503, "store-down".to_owned()));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    site.rename_table("affinity_gone", "affinity").await;
    eventually("new keys get engines again", async || {
        place(&site, &id, "/rooms/b", false).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_request_releases_its_claim_of_the_key() {
    let engine = berth_engine_sim::start(Options {
        jwt_secret: Some("k".repeat(40)),
        documents: vec![Document::new("sales.qvf", 10)],
        load_ms: 1_500,
        ..Options::default()
    });
    let engine = engine.await.unwrap();
    let (port, metrics) = (engine.api_addr().port(), engine.metrics_addr().port());
    let site = Site::start(&format!(
        "{CLIENTS}placement: {{ engine_timeout: 10s, deadline: 60s }}\n\
         pools: [ {{ name: p, driver: qix, cluster: c, discovery: {{ static: [ {{ name: e, ip: 127.0.0.1, port: {port}, metrics_port: {metrics} }} ] }} }} ]\n\
         routes: [ {{ path: '/app/{{document}}', pool: p, open: {{ document: '{{document}}' }}, affinity: {{ key: '{{document}}' }} }} ]"
    ))
    .await;
    let site = ready(site).await;
    let id = site.login().await;
    let body = json!({"session": id, "method": "GET", "path": "/app/sales.qvf", "host": "h"});
    let post = || {
        let request = site
            .request(Method::POST, "/v1/placements")
            .body(body.to_string());
        request.header("content-type", "application/json")
    };
    let cancelled = post().timeout(Duration::from_millis(300)).send().await;
    assert!(cancelled.unwrap_err().is_timeout());
    // A claim that is not released lasts longer than this.
    let next = tokio::time::timeout(Duration::from_secs(20), send_request(post())).await;
    placed(&next.unwrap());
}
