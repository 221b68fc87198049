//! A tab returns to its engine session after a restart of the service, and through any replica.

use crate::affinity::{placed, ready};
use crate::site::{Answer, Site, eventually};
use berth_engine_sim::{Document, Options};
use serde_json::{Value, json};

async fn place(site: &Site, session: &str, tab: &str) -> Answer {
    let body = json!({"session": session, "method": "GET", "path": "/app/sales.qvf", "host": "h", "tab": tab});
    site.post_json("/v1/placements", body).await
}

/// The reason, the engine and the engine session.
fn place_of(answer: &Value) -> (Value, Value, Value) {
    let session = &answer["set_headers"]["x-qlik-session"];
    (
        answer["reason"].clone(),
        answer["engine"].clone(),
        session.clone(),
    )
}

#[tokio::test]
async fn a_tab_returns_after_a_restart_and_through_another_replica() {
    let mut engines = Vec::new();
    let mut list = Vec::new();
    for name in ["one", "two"] {
        let engine = berth_engine_sim::start(Options {
            jwt_secret: Some("k".repeat(40)),
            documents: vec![Document::new("sales.qvf", 10)],
            ..Options::default()
        });
        let engine = engine.await.unwrap();
        let (port, metrics) = (engine.api_addr().port(), engine.metrics_addr().port());
        list.push(format!(
            "{{ name: {name}, ip: 127.0.0.1, port: {port}, metrics_port: {metrics} }}"
        ));
        engines.push(engine);
    }
    let yaml = format!(
        "pools: [ {{ name: p, driver: qix, cluster: c, strategy: round-robin, weights: {{ document: 0 }}, discovery: {{ static: [ {} ] }} }} ]\n\
         routes: [ {{ path: '/app/{{document}}', pool: p, open: {{ document: '{{document}}' }} }} ]",
        list.join(", ")
    );
    let site = ready(Site::start(&yaml).await).await;
    let id = site.login().await;
    let first = place_of(&placed(&place(&site, &id, "t1").await));
    let other_tab = place_of(&placed(&place(&site, &id, "t2").await));
    assert_ne!(first.1, other_tab.1);
    // Written behind.
    let database = site.database().await;
    eventually("both tabs are stored", async || {
        let count = sqlx::query_scalar("SELECT count(*) FROM affinity WHERE kind = 'tab'");
        let count: i64 = count.fetch_one(&database).await.unwrap();
        count == 2
    })
    .await;
    let replica = ready(site.start_replica(&yaml).await).await;
    let there = place_of(&placed(&place(&replica, &id, "t1").await));
    assert_eq!(there, (json!("resumed"), first.1.clone(), first.2.clone()));
    let site = ready(site.restart(&yaml).await).await;
    for (tab, before) in [("t1", &first), ("t2", &other_tab)] {
        let after = place_of(&placed(&place(&site, &id, tab).await));
        assert_eq!(
            after,
            (json!("resumed"), before.1.clone(), before.2.clone())
        );
    }
    let new = place_of(&placed(&place(&site, &id, "t3").await));
    assert_eq!(new.0, "round-robin");
}
