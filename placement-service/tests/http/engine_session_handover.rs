//! The engine sessions of a service that has shut down: the next process, or another replica, ends them.

use crate::engine_sessions::{
    PROMPTLY, close, log_out, open, signing_engine, site_settings, start_site, wait_for_sessions,
    wait_until_ready,
};
use crate::reporting_gateway::ReportingGateway;
use crate::site::{Site, eventually};
use sqlx::Row;

/// The names of the values with engine sessions in the store, and their texts.
async fn stored(site: &Site) -> Vec<(String, String)> {
    let select = "SELECT name, text FROM notes WHERE name LIKE 'engine-sessions/%'";
    let rows = sqlx::query(select).fetch_all(&site.database().await).await;
    let rows = rows.unwrap().into_iter();
    rows.map(|row| (row.get("name"), row.get("text"))).collect()
}

async fn wait_until_taken_over(site: &Site) {
    eventually("the engine sessions are taken over", async || {
        stored(site).await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_logout_after_a_restart_ends_the_engine_sessions_of_before() {
    let (site, engine) = start_site("", "", signing_engine()).await;
    let settings = site_settings("", "", &engine);
    let (login, other) = (site.login().await, site.login().await);
    let mut gateway = ReportingGateway::new(&site, "g");
    let (lingering, socket) = open(&mut gateway, &login, Some("t1")).await;
    close(&mut gateway, &lingering, socket, None).await;
    let (_, in_use) = open(&mut gateway, &login, Some("t2")).await;
    let (_, stays) = open(&mut gateway, &other, Some("t1")).await;
    // Twice: what was taken over is handed over again.
    let site = site.restart(&settings).await;
    wait_until_taken_over(&site).await;
    let site = site.restart(&settings).await;
    wait_until_taken_over(&site).await;
    log_out(&site, &login).await;
    // As the gateway does.
    drop(in_use);
    let elapsed = wait_for_sessions(&engine, 1).await;
    assert!(elapsed < PROMPTLY, "{elapsed:?}");
    drop(stays);
}

#[tokio::test]
async fn another_replica_ends_the_engine_sessions_of_one_that_has_shut_down() {
    let (site, engine) = start_site("", "", signing_engine()).await;
    let replica = site.start_replica(&site_settings("", "", &engine)).await;
    wait_until_ready(&replica).await;
    let login = site.login().await;
    let mut gateway = ReportingGateway::new(&site, "g");
    let (placed, socket) = open(&mut gateway, &login, Some("t1")).await;
    close(&mut gateway, &placed, socket, None).await;
    let (secret, _) = (
        placed["token"].as_str().unwrap().to_owned(),
        site.shut_down().await,
    );
    for (_, text) in stored(&replica).await {
        assert!(!text.contains(&secret) && !text.contains(&login), "{text}");
    }
    wait_until_taken_over(&replica).await;
    log_out(&replica, &login).await;
    wait_for_sessions(&engine, 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_after_a_restart_ends_its_engine_session() {
    let (site, engine) = start_site("", "", signing_engine()).await;
    let settings = site_settings("", "", &engine);
    let login = site.login().await;
    let mut gateway = ReportingGateway::new(&site, "g");
    let (leaves, socket) = open(&mut gateway, &login, None).await;
    let (lost, other) = open(&mut gateway, &login, None).await;
    let site = site.restart(&settings).await;
    wait_until_ready(&site).await;
    wait_until_taken_over(&site).await;
    let mut gateway = ReportingGateway::new(&site, "g");
    let session = leaves["session_ref"].as_str().unwrap();
    let streams = [&leaves, &lost].map(|placed| placed["stream"].as_str().unwrap());
    gateway.report_opened(session, &streams).await;
    close(&mut gateway, &lost, other, None).await;
    close(&mut gateway, &leaves, socket, Some(1000)).await;
    wait_for_sessions(&engine, 1).await;
}
