//! `/v1/engines` and `/v1/placements/explain` for operators.

use crate::events::CLIENTS;
use crate::site::{Answer, Site, eventually, send_request};
use berth_engine_sim::{Document, Engine, Options};
use reqwest::Method;
use serde_json::{Value, json};

pub(crate) async fn request_as_operator(site: &Site, method: Method, path: &str) -> Answer {
    let request = site.request(method, path);
    send_request(request.header("authorization", "Bearer operator-secret-1")).await
}

/// A site with two engines. `one` has much less load than `two`.
async fn start_site(more: &str) -> (Site, Vec<Engine>) {
    let mut engines = Vec::new();
    let mut list = String::new();
    for (name, base_cpu) in [("one", 0.1), ("two", 0.8)] {
        let engine = berth_engine_sim::start(Options {
            documents: vec![Document::new("sales.qvf", 100)],
            base_cpu,
            ..Options::default()
        });
        let engine = engine.await.unwrap();
        let (port, metrics) = (engine.api_addr().port(), engine.metrics_addr().port());
        list +=
            &format!("{{ name: {name}, ip: 127.0.0.1, port: {port}, metrics_port: {metrics} }}, ");
        engines.push(engine);
    }
    let yaml = format!(
        "{CLIENTS}{more}\npools: [ {{ name: qix, driver: qix, cluster: c, discovery: {{ static: [ {list} ] }}, capacity: {{ per_engine: 9 }} }} ]\n\
         routes: [ {{ path: \"/app/{{document}}\", pool: qix, open: {{ document: \"{{document}}\" }} }} ]"
    );
    let site = Site::start(&yaml).await;
    eventually("the service is ready", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
    (site, engines)
}

pub(crate) fn placement_body(session: &str, tab: &str) -> Value {
    json!({"session": session, "method": "GET", "path": "/app/sales.qvf", "host": "h", "tab": tab})
}

pub(crate) async fn place_and_get_engine(site: &Site, session: &str, tab: &str) -> String {
    let placed = site
        .post_json("/v1/placements", placement_body(session, tab))
        .await;
    assert_eq!(placed.status, 200, "{placed:?}");
    placed.json()["engine"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_drained_engine_gets_no_new_placements_until_it_is_undrained() {
    let (site, _engines) = start_site("").await;
    let id = site.login().await;
    let listed = request_as_operator(&site, Method::GET, "/v1/engines")
        .await
        .json();
    let names: Vec<_> = listed["engines"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&names[0]["engine"], &names[1]["engine"]),
        (&json!("one"), &json!("two"))
    );
    assert_eq!(
        (&names[0]["draining"], &names[0]["state"]),
        (&json!(false), &json!("ok"))
    );
    assert_eq!(place_and_get_engine(&site, &id, "t1").await, "one");

    let drained =
        request_as_operator(&site, Method::POST, "/v1/engines/qix/one/drain?over=90s").await;
    assert_eq!(drained.status, 200, "{drained:?}");
    let drained = drained.json();
    assert_eq!(
        (&drained["draining"], &drained["drained_over_s"]),
        (&json!(true), &json!(90.0))
    );
    for tab in ["t1", "t2", "t3"] {
        assert_eq!(place_and_get_engine(&site, &id, tab).await, "two");
    }
    let listed = request_as_operator(&site, Method::GET, "/v1/engines")
        .await
        .json();
    assert_eq!(listed["engines"][0]["draining"], true);
    let metrics = site.get("/metrics", "").await.text;
    assert!(
        metrics.contains(r#"berth_pool_available_sessions{pool="qix"} 6"#),
        "{metrics}"
    );

    let undrained = request_as_operator(&site, Method::DELETE, "/v1/engines/qix/one/drain").await;
    assert_eq!(undrained.status, 204);
    assert_eq!(place_and_get_engine(&site, &id, "t4").await, "one");
    assert_eq!(
        place_and_get_engine(&site, &id, "t1").await,
        "two",
        "no placement moves back"
    );
}

#[tokio::test]
async fn an_operator_cannot_undrain_what_discovery_drains() {
    let engine = "{ name: e, ip: 127.0.0.1, port: 1, draining: true }";
    let yaml = format!(
        "{CLIENTS}pools: [ {{ name: p, driver: websocket, cluster: c, discovery: {{ static: [ {engine} ] }} }} ]"
    );
    let site = Site::start(&yaml).await;
    let is_drained = async || {
        let listed = request_as_operator(&site, Method::GET, "/v1/engines")
            .await
            .json();
        listed["engines"][0]["draining"] == true
    };
    eventually("it is drained", is_drained).await;
    let refused = request_as_operator(&site, Method::DELETE, "/v1/engines/p/e/drain").await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (409, "drained-by-discovery")
    );
    assert!(is_drained().await);
}

#[tokio::test]
async fn invalid_drain_requests_name_their_reason() {
    let (site, _engines) = start_site("").await;
    for (path, status, reason) in [
        ("/v1/engines/qix/three/drain", 404, "no-such-engine"),
        ("/v1/engines/other/one/drain", 404, "no-such-engine"),
        ("/v1/engines/qix/%FF/drain", 404, "no-such-engine"),
        (
            "/v1/engines/qix/one/drain?over=soon",
            400,
            "invalid-request",
        ),
        ("/v1/engines/qix/one/drain?over=25h", 400, "invalid-request"),
        (
            "/v1/engines/qix/one/drain?over=1s&over=2s",
            400,
            "invalid-request",
        ),
        ("/v1/engines/qix/one/drain?ower=1s", 400, "invalid-request"),
    ] {
        let refused = request_as_operator(&site, Method::POST, path).await;
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (status, reason),
            "{path}"
        );
    }
    let gone = request_as_operator(&site, Method::DELETE, "/v1/engines/qix/three/drain").await;
    assert_eq!(gone.reason(), "no-such-engine");
    for (method, path) in [
        (Method::GET, "/v1/engines"),
        (Method::POST, "/v1/engines/qix/one/drain"),
        (Method::DELETE, "/v1/engines/qix/one/drain"),
        (Method::GET, "/v1/placements/explain?path=/app/x"),
    ] {
        let request = site.request(method.clone(), path);
        assert_eq!(send_request(request).await.reason(), "unknown-client");
        let request = site.request(method, path);
        let runtime = request.header("authorization", "Bearer runtime-secret-12");
        assert_eq!(send_request(runtime).await.reason(), "forbidden");
    }
}

#[tokio::test]
async fn an_explanation_matches_the_placement() {
    let (site, _engines) = start_site("").await;
    let id = site.login().await;
    let explain = async |more: &str| {
        let path = format!("/v1/placements/explain?path=/app/sales.qvf{more}");
        let explained = request_as_operator(&site, Method::GET, &path).await;
        assert_eq!(explained.status, 200, "{explained:?}");
        explained.json()
    };
    let before = explain("").await;
    assert_eq!(
        (
            &before["engine"],
            &before["reason"],
            &before["pool"],
            &before["available_sessions"]
        ),
        (
            &json!("one"),
            &json!("least-load"),
            &json!("qix"),
            &json!(18)
        )
    );
    assert_eq!(before["engines"][0]["outcome"], "selected");
    assert_eq!(before["engines"][1]["outcome"], "outscored");
    assert!(before["engines"][0]["total"].as_f64() > before["engines"][1]["total"].as_f64());
    assert!(before["engines"][0]["scores"]["cpu"]["weight"].is_number());
    assert_eq!(place_and_get_engine(&site, &id, "t1").await, "one");
    let session = site.session_ref(&id).await;
    let tab = explain(&format!("&session={session}&tab=t1")).await;
    assert_eq!(
        (&tab["reason"], &tab["attached_to"]),
        (&json!("resumed"), &json!("one"))
    );
    request_as_operator(&site, Method::POST, "/v1/engines/qix/one/drain?over=0s").await;
    let drained = explain(&format!("&session={session}&tab=t1")).await;
    assert_eq!(
        (&drained["reason"], &drained["engine"]),
        (&json!("replaced"), &json!("two"))
    );
    assert_eq!(drained["engines"][0]["outcome"], "draining");
    for (query, reason) in [
        ("", "invalid-request"),
        ("?path=/nowhere", "no-such-route"),
        ("?path=x", "invalid-request"),
        ("?account=a&path=/app/x", "invalid-request"),
    ] {
        let refused = request_as_operator(
            &site,
            Method::GET,
            &format!("/v1/placements/explain{query}"),
        )
        .await;
        assert_eq!(refused.reason(), reason, "{query}");
    }
}

#[tokio::test]
async fn a_placement_of_an_administrator_is_explained_on_request() {
    let (site, _engines) = start_site("").await;
    let place = async |id: &str, header: Option<&str>| {
        let mut request = site.request(Method::POST, "/v1/placements");
        if let Some(value) = header {
            request = request.header("x-berth-explain", value);
        }
        let body = placement_body(id, "").to_string();
        let placed = send_request(
            request
                .header("content-type", "application/json")
                .body(body),
        )
        .await;
        assert_eq!(placed.status, 200, "{placed:?}");
        placed.json()["explanation"].clone()
    };
    let user = site.login().await;
    assert_eq!(
        place(&user, Some("1")).await,
        Value::Null,
        "no administrator"
    );
    let roles = "UPDATE accounts SET roles = '[\"admin\"]'";
    sqlx::query(roles)
        .execute(&site.database().await)
        .await
        .unwrap();
    let admin = site.login().await;
    assert_eq!(place(&admin, None).await, Value::Null);
    assert_eq!(place(&admin, Some("0")).await, Value::Null);
    let why = place(&admin, Some("1")).await;
    assert_eq!(
        (&why[0]["engine"], &why[0]["outcome"]),
        (&json!("one"), &json!("selected"))
    );
    assert_eq!(why[1]["outcome"], "outscored");
}
