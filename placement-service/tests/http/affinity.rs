//! Keys: all requests of one key reach one engine, plain ones and WebSockets, over replicas and restarts.

use crate::engines::request_as_operator;
use crate::events::CLIENTS;
use crate::site::{Answer, Site, eventually, send_request};
use crate::stream_limit::SilentEngine;
use berth_engine_sim::{Document, Options};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const ROUTES: &str = "
  - { path: '/jup/{rest}', host: lab.example.com, pool: p, http: allow, affinity: { key: account }, rewrite: '/{rest}',
      headers: { x-forwarded-user: '{account}', x-forwarded-groups: 'g-{roles}', x-key: '{key}', x-mail: '{claims.email}' } }
  - { path: '/own/{rest}', pool: p, http: allow, affinity: { key: session } }
  - { path: '/rooms/{room}', pool: p, http: allow, affinity: { key: '{room}' } }
  - { path: '/patient/{room}', pool: p, affinity: { key: '{room}', replace_after: 1h } }
  - { path: '/tab', pool: p, affinity: { key: tab } }
  - { path: /ws, pool: p, headers: { x-user: '{account}' }, rewrite: /socket }
";

/// Engines `e0`, `e1`, ... of pool `p`, and a configuration with them.
pub(crate) async fn start_engines(count: usize) -> Vec<SilentEngine> {
    join_all((0..count).map(|_| SilentEngine::start())).await
}

/// The configuration of pool `p` with the engines of these numbers.
pub(crate) fn yaml(engines: &[(usize, &SilentEngine)], more: &str, routes: &str) -> String {
    let engine = |(number, engine): &(usize, &SilentEngine)| {
        format!(
            "{{ name: e{number}, ip: 127.0.0.1, port: {} }}",
            engine.port
        )
    };
    let list: Vec<String> = engines.iter().map(engine).collect();
    format!(
        "{CLIENTS}probe: {{ interval: 200ms, timeout: 10s, failures: 1 }}\n\
         placement: {{ engine_timeout: 10s, deadline: 60s, max_streams_per_session: 0 }}\n\
         pools: [ {{ name: p, driver: websocket, cluster: c, {more} discovery: {{ static: [ {} ] }} }} ]\n\
         routes: {routes}",
        list.join(", ")
    )
}

pub(crate) fn numbered(engines: &[SilentEngine]) -> Vec<(usize, &SilentEngine)> {
    engines.iter().enumerate().collect()
}

pub(crate) async fn ready(site: Site) -> Site {
    eventually("the service is ready", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
    site
}

/// A placement of a WebSocket, or of a plain request.
pub(crate) async fn place(site: &Site, session: &str, path: &str, upgrade: bool) -> Answer {
    place_in_tab(site, session, path, upgrade, None).await
}

async fn place_in_tab(
    site: &Site,
    session: &str,
    path: &str,
    upgrade: bool,
    tab: Option<&str>,
) -> Answer {
    let body = json!({"session": session, "gateway": "g", "method": "GET", "path": path,
        "host": "lab.example.com", "upgrade": upgrade, "tab": tab});
    site.post_json("/v1/placements", body).await
}

pub(crate) fn placed(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.reason())
}

#[tokio::test]
async fn plain_requests_and_websockets_of_a_key_reach_one_engine() {
    let engines = start_engines(3).await;
    let site = Site::start(&yaml(&numbered(&engines), "", ROUTES)).await;
    let site = ready(site).await;
    let id = site.login().await;
    let first = placed(&place(&site, &id, "/jup/api/a%20b?x=1", false).await);
    let affinity = &first["affinity"];
    assert_eq!(first["stream"], "");
    assert_eq!(first["path"], "/api/a%20b?x=1");
    let scope = json!({"host": "lab.example.com", "prefix": "/jup/"});
    assert_eq!(
        (&affinity["scope"], &affinity["rewrite"]),
        (&scope, &json!("/"))
    );
    let key = affinity["key"].as_str().unwrap();
    assert_eq!(key.len(), 43);
    let headers = json!({"x-forwarded-user": "demo", "x-forwarded-groups": "g-user", "x-key": key});
    assert_eq!(affinity["set_headers"], headers);
    assert_eq!(first["set_headers"], headers);
    let valid_ms = affinity["valid_ms"].as_u64().unwrap();
    assert!(valid_ms > 0 && valid_ms <= 30_000, "{valid_ms}");
    assert!(affinity["as_of"].as_u64().unwrap() > 0);
    // Any login of the account, any path of the route, any kind of request.
    let other = site.login().await;
    for (session, path, upgrade) in [
        (&id, "/jup/", false),
        (&other, "/jup/api/kernels/1/channels?session_id=2", true),
        (&other, "/jup/x", false),
    ] {
        let next = placed(&place(&site, session, path, upgrade).await);
        assert_eq!(next["engine"], first["engine"]);
        assert_eq!(next["reason"], "affinity");
        for field in ["key", "epoch"] {
            assert_eq!(next["affinity"][field], affinity[field]);
        }
        assert_eq!(next["stream"] != "", upgrade);
    }
    // A route without a key sets headers and the path, too.
    let plain = placed(&place(&site, &id, "/ws?y", true).await);
    assert_eq!(
        (&plain["path"], &plain["affinity"]),
        (&json!("/socket?y"), &Value::Null)
    );
    assert_eq!(plain["set_headers"], json!({"x-user": "demo"}));
}

#[tokio::test]
async fn each_kind_of_key_keeps_its_own_requests_together() {
    let engines = start_engines(1).await;
    let site = Site::start(&yaml(&numbered(&engines), "", ROUTES)).await;
    let site = ready(site).await;
    let (one, two) = (site.login().await, site.login().await);
    let key = async |session: &str, path: &str, tab: Option<&str>| {
        let answer = place_in_tab(&site, session, path, true, tab).await;
        placed(&answer)["affinity"]["key"].clone()
    };
    assert_eq!(
        key(&one, "/own/a", None).await,
        key(&one, "/own/b", None).await
    );
    assert_ne!(
        key(&one, "/own/a", None).await,
        key(&two, "/own/a", None).await
    );
    assert_eq!(
        key(&one, "/rooms/a", None).await,
        key(&two, "/rooms/%61", None).await
    );
    assert_ne!(
        key(&one, "/rooms/a", None).await,
        key(&one, "/rooms/A", None).await
    );
    assert_eq!(
        key(&one, "/tab", Some("t")).await,
        key(&one, "/tab", Some("t")).await
    );
    assert_ne!(
        key(&one, "/tab", Some("t")).await,
        key(&two, "/tab", Some("t")).await
    );
    assert_eq!(key(&one, "/tab", None).await, Value::Null, "no tab, no key");
}

#[tokio::test]
async fn plain_requests_need_a_login_and_a_route_that_allows_them() {
    let engines = start_engines(1).await;
    let site = Site::start(&yaml(&numbered(&engines), "", ROUTES)).await;
    let site = ready(site).await;
    let id = site.login().await;
    for path in ["/ws", "/tab", "/patient/x"] {
        let answer = place(&site, &id, path, false).await;
        assert_eq!(
            refused(&answer),
            (426, "upgrade-required".to_owned()),
            "{path}"
        );
    }
    let unknown = place(&site, &"A".repeat(43), "/rooms/a", false).await;
    assert_eq!(refused(&unknown), (401, "unknown-session".to_owned()));
    let anonymous = json!({"method": "GET", "path": "/rooms/a", "host": "h", "upgrade": false});
    let anonymous = site.post_json("/v1/placements", anonymous).await;
    assert_eq!(refused(&anonymous), (400, "invalid-request".to_owned()));
    let long = format!("/rooms/{}", "r".repeat(513));
    let long = place(&site, &id, &long, false).await;
    assert_eq!(refused(&long), (414, "key-too-long".to_owned()));
    let metric = "berth_placements_total{pool=\"p\",outcome=\"upgrade-required\"} ";
    assert_eq!(site.metric(metric).await, 3);
}

#[tokio::test]
async fn two_hundred_first_requests_at_three_replicas_get_one_engine_that_survives_restarts() {
    let engines = start_engines(3).await;
    let yaml = yaml(&numbered(&engines), "", ROUTES);
    let site = ready(Site::start(&yaml).await).await;
    let id = site.login().await;
    let mut replicas = vec![site];
    for _ in 0..2 {
        let replica = replicas[0].start_replica(&yaml).await;
        replicas.push(ready(replica).await);
    }
    let requests = (0..200).map(|number| place(&replicas[number % 3], &id, "/rooms/a", false));
    let answers = join_all(requests).await;
    let engines: BTreeSet<String> = answers
        .iter()
        .map(|answer| placed(answer)["engine"].to_string())
        .collect();
    assert_eq!(engines.len(), 1, "{engines:?}");
    let mut attempts = 0;
    for replica in &replicas {
        let ok = "berth_placement_attempts_total{pool=\"p\",outcome=\"ok\"} ";
        attempts += replica.metric(ok).await;
    }
    assert_eq!(attempts, 1);
    let epoch = placed(&answers[0])["affinity"]["epoch"].clone();
    let mut replicas = replicas.into_iter();
    let site = replicas.next().unwrap();
    for replica in replicas {
        replica.shut_down().await;
    }
    let site = ready(site.restart(&yaml).await).await;
    let again = placed(&place(&site, &id, "/rooms/a", false).await);
    assert!(engines.contains(&again["engine"].to_string()));
    assert_eq!(
        (&again["affinity"]["epoch"], &again["reason"]),
        (&epoch, &json!("affinity"))
    );
}

#[tokio::test]
async fn a_key_moves_when_its_engine_is_removed_or_drained() {
    let engines = start_engines(3).await;
    let site = Site::start(&yaml(&numbered(&engines), "", ROUTES)).await;
    let site = ready(site).await;
    let id = site.login().await;
    let first = placed(&place(&site, &id, "/rooms/a", false).await);
    let drain = format!(
        "/v1/engines/p/{}/drain?over=0s",
        first["engine"].as_str().unwrap()
    );
    let drained = request_as_operator(&site, Method::POST, &drain).await;
    assert_eq!(drained.status, 200, "{drained:?}");
    let second = placed(&place(&site, &id, "/rooms/a", false).await);
    assert_ne!(second["engine"], first["engine"]);
    let epoch = |placed: &Value| placed["affinity"]["epoch"].as_u64().unwrap();
    assert!(epoch(&second) > epoch(&first));
    // The engine is gone from discovery.
    let removed = second["engine"].as_str().unwrap().to_owned();
    let mut remaining = numbered(&engines);
    remaining.retain(|(number, _)| format!("e{number}") != removed);
    let site = ready(site.restart(&yaml(&remaining, "", ROUTES)).await).await;
    let third = placed(&place(&site, &id, "/rooms/a", true).await);
    assert_ne!(third["engine"], second["engine"]);
    assert!(epoch(&third) > epoch(&second));
}

#[tokio::test]
async fn while_an_engine_is_drained_new_streams_join_the_others_of_their_key() {
    let engines = start_engines(2).await;
    let site = Site::start(&yaml(&numbered(&engines), "", ROUTES)).await;
    let site = ready(site).await;
    let id = site.login().await;
    // A key with a large share of the time of a drain.
    let mut first = Value::Null;
    let mut path = String::new();
    for number in 0.. {
        path = format!("/rooms/{number}");
        first = placed(&place(&site, &id, &path, true).await);
        let key = first["affinity"]["key"].as_str().unwrap();
        if berth_api::drain_delay_ms(key, 1000) > 500 {
            break;
        }
    }
    let drain = format!(
        "/v1/engines/p/{}/drain?over=60s",
        first["engine"].as_str().unwrap()
    );
    let drained = request_as_operator(&site, Method::POST, &drain).await;
    assert_eq!(drained.status, 200, "{drained:?}");
    let joined = placed(&place(&site, &id, &path, true).await);
    assert_eq!(joined["engine"], first["engine"]);
    let key = first["affinity"]["key"].as_str().unwrap();
    site.clock
        .advance_ms(berth_api::drain_delay_ms(key, 60_000));
    let moved = placed(&place(&site, &id, &path, true).await);
    assert_ne!(moved["engine"], first["engine"]);
}

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
