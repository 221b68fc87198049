//! A key counts once over replicas that share a ledger.

use crate::affinity::{place, placed};
use crate::engines::request_as_operator;
use crate::events::CLIENTS;
use crate::ledger::start_replicas;
use crate::site::{Site, eventually};
use crate::stream_limit::SilentEngine;
use berth_databases::Redis;
use reqwest::Method;

async fn wait_for_sessions(site: &Site, sessions: u64) {
    eventually(&format!("{sessions} sessions are counted"), async || {
        let listed = request_as_operator(site, Method::GET, "/v1/engines")
            .await
            .json();
        listed["engines"][0]["sessions"] == sessions
    })
    .await;
}

#[tokio::test]
async fn a_key_counts_once_over_all_replicas() {
    let redis = Redis::shared().await.unwrap();
    let engine = SilentEngine::start().await;
    let pool = engine.pool("p", "capacity: { per_engine: 2 },");
    let yaml = format!(
        "{CLIENTS}pools:\n{pool}routes: [ {{ path: '/key/{{room}}', pool: p, http: allow, affinity: {{ key: '{{room}}', counts: key }} }} ]\n"
    );
    let sites = start_replicas(2, &redis.database(), &yaml).await;
    let id = sites[0].login().await;
    placed(&place(&sites[0], &id, "/key/a", false).await);
    wait_for_sessions(&sites[1], 1).await;
    // Requests through the other replica.
    for upgrade in [false, true, true] {
        placed(&place(&sites[1], &id, "/key/a", upgrade).await);
    }
    for site in &sites {
        wait_for_sessions(site, 1).await;
    }
    placed(&place(&sites[1], &id, "/key/b", true).await);
    for site in &sites {
        wait_for_sessions(site, 2).await;
        let full = place(site, &id, "/key/c", false).await;
        assert_eq!(
            (full.status, full.reason()),
            (503, "engines-full".to_owned())
        );
    }
    placed(&place(&sites[0], &id, "/key/b", true).await);
    for site in &sites {
        wait_for_sessions(site, 2).await;
    }
}
