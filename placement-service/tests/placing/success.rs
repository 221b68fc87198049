//! What a successful placement leaves with the client and on the engine.

use crate::site::{Site, SiteOptions, eventually};
use berth_api::RejectReason;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test]
async fn the_document_is_open_in_the_session_that_waits_for_the_client() {
    let site = Site::start(SiteOptions {
        options: |o| o.jwt_secret = Some("secret".into()),
        ..SiteOptions::default()
    })
    .await;
    let claims = json!({"sub": "ann", "exp": 4_000_000_000_u64});
    let key = EncodingKey::from_secret(b"secret");
    let token = encode(&Header::default(), &claims, &key).unwrap();
    let placed = site
        .place_as(&token, "/app/sales.qvf?berth_tab=t1")
        .await
        .unwrap();
    let engine = site.engine(&placed.engine);

    assert_eq!(placed.cluster, "engines");
    assert_eq!(placed.destination, Some(engine.api_addr().to_string()));
    assert_eq!(placed.path, "/app/engineData/ttl/60");
    let names: Vec<_> = placed.set_headers.keys().collect();
    assert_eq!(names, ["x-qlik-session"]);

    // One session of the user, with the document, and a TTL of 10 s without a socket.
    eventually("our socket is closed", || engine.stats().sockets == 0).await;
    let sessions = engine.sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].id, placed.set_headers["x-qlik-session"]);
    assert_eq!(sessions[0].user, "ann");
    assert_eq!(sessions[0].ttl, 10);
    assert!(sessions[0].app.as_ref().unwrap().contains("sales.qvf"));
}

#[tokio::test]
async fn every_placement_has_its_own_session_id_and_stream() {
    let site = Site::start(SiteOptions::default()).await;
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let placed = site.place("/app/sales.qvf").await.unwrap();
        let id = placed.set_headers["x-qlik-session"].clone();
        assert_eq!(uuid::Uuid::parse_str(&id).unwrap().get_version_num(), 4);
        assert!(seen.insert(id) && seen.insert(placed.stream));
    }
}

#[tokio::test]
async fn a_route_can_open_a_session_app_or_nothing() {
    let site = Site::start(SiteOptions {
        engines: 1,
        ..SiteOptions::default()
    })
    .await;
    site.place("/doc/session-doc").await.unwrap();
    site.place("/app/engineData").await.unwrap();
    let apps: Vec<_> = site.engines[0]
        .sessions()
        .into_iter()
        .map(|s| s.app)
        .collect();
    assert_eq!(apps.len(), 2);
    assert_eq!(apps.iter().filter(|app| app.is_none()).count(), 1);
}

#[tokio::test]
async fn a_session_without_a_client_expires_on_the_engine() {
    let site = Site::start(SiteOptions {
        engines: 1,
        // The engine shortens the requested TTL of 10 s. Another test asserts the request.
        options: |o| o.max_session_ttl = 1,
        ..SiteOptions::default()
    })
    .await;
    site.place("/app/sales.qvf").await.unwrap();
    assert_eq!(site.engines[0].stats().sessions, 1);
    eventually("the session is gone", || {
        site.engines[0].stats().sessions == 0
    })
    .await;
}

#[tokio::test]
async fn a_missing_document_is_the_clients_fault() {
    let site = Site::start(SiteOptions::default()).await;
    assert_eq!(
        site.place_error_reason("/app/missing.qvf").await,
        RejectReason::NoSuchDocument
    );
    assert_eq!(
        site.place_error_reason("/nowhere").await,
        RejectReason::NoSuchRoute
    );
    assert_eq!(
        site.place_error_reason("no-path").await,
        RejectReason::InvalidRequest
    );
    let tried: u64 = site.engines.iter().map(|e| e.stats().upgrades_total).sum();
    assert_eq!(tried, 1, "no other engine is tried for the document");
    assert_eq!(site.count_reserved(), 0);
    site.place("/app/sales.qvf").await.unwrap();
    let metrics = site.metrics();
    for line in [
        r#"berth_placements_total{pool="main",outcome="no-such-document"} 1"#,
        r#"berth_placements_total{pool="main",outcome="ok"} 1"#,
        r#"berth_placement_attempts_total{pool="main",outcome="ok"} 1"#,
        r#"berth_placement_attempt_duration_seconds_count{pool="main"} 2"#,
        r#"berth_engine_state{pool="main",engine="engine-0",state="ok"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_websocket_pool_forwards_the_path_of_the_client() {
    let site = Site::start(SiteOptions {
        driver: "websocket",
        ..SiteOptions::default()
    })
    .await;
    let placed = site
        .place("/app/chat%20room?a=1&berth_tab=t1")
        .await
        .unwrap();
    assert_eq!(placed.path, "/app/chat%20room?a=1");
    assert!(placed.set_headers.is_empty());
    let engine = site.engine(&placed.engine);
    assert_eq!(placed.destination, Some(engine.api_addr().to_string()));
    assert_eq!(engine.stats().upgrades_total, 0);
}

#[tokio::test]
async fn a_cluster_per_engine_needs_no_destination() {
    let site = Site::start(SiteOptions {
        engines: 1,
        driver: "websocket",
        cluster: "outbound|9076||{engine}.ns",
        ..SiteOptions::default()
    })
    .await;
    let placed = site.place("/app/x").await.unwrap();
    assert_eq!(placed.cluster, "outbound|9076||engine-0.ns");
    assert_eq!(placed.destination, None);
}

#[tokio::test]
async fn the_latest_placements_of_a_session_are_listed() {
    let site = Site::start(SiteOptions::default()).await;
    let in_tab = async |path| site.place_in_tab("ref", path, Some("t1")).await.unwrap();
    let placed = in_tab("/app/sales.qvf").await;
    in_tab("/doc/session-doc").await;
    let recent = site.placer.recent_placements("ref");
    assert_eq!(recent.len(), 2);
    assert_eq!(recent[1].document.as_deref(), Some("sales.qvf"));
    assert_eq!(recent[1].tab.as_deref(), Some("t1"));
    assert_eq!(
        (&recent[1].engine, &recent[1].stream),
        (&placed.engine, &placed.stream)
    );
    assert_eq!(recent[0].document, None);
    assert!(site.placer.recent_placements("another").is_empty());
}
