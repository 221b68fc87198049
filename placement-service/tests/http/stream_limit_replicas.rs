//! The limit of a session's streams over replicas. They exchange their counts through the ledger with a short delay.

use crate::events::CLIENTS;
use crate::ledger::start_replicas;
use crate::site::Site;
use crate::stream_limit::{
    SilentEngine, assert_refused, closed_report, placed_stream, request_placement, send_report,
    wait_for_stream_count,
};
use berth_databases::Redis;
use futures_util::future::join_all;

const LIMIT: usize = 20;

/// Starts two replicas with a pool `p` where a session may have `LIMIT` streams.
async fn start_two_replicas(url: &str) -> (Vec<Site>, SilentEngine) {
    let engine = SilentEngine::start().await;
    let limit = format!("max_streams_per_session: {LIMIT},");
    let pool = engine.pool("p", &limit);
    let yaml = format!("{CLIENTS}pools:\n{pool}routes: [ {{ path: /p, pool: p }} ]\n");
    (start_replicas(2, url, &yaml).await, engine)
}

/// Requests `count` placements at once. Returns the placed streams.
async fn place_many(site: &Site, session: &str, count: usize) -> Vec<String> {
    let answers = join_all((0..count).map(|_| request_placement(site, session, "/p"))).await;
    let (placed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    refused.iter().for_each(|answer| assert_refused(answer));
    placed.into_iter().map(placed_stream).collect()
}

/// Waits until the replica counts `count` streams of the session.
async fn wait_for_count(site: &Site, session: &str, count: usize) {
    wait_for_stream_count(site, &site.session_ref(session).await, count).await;
}

#[tokio::test]
async fn the_limit_holds_over_replicas_apart_from_one_exchange() {
    let redis = Redis::shared().await.unwrap();
    let (sites, _engine) = start_two_replicas(&redis.database()).await;
    let (id, other) = (sites[0].login().await, sites[0].login().await);
    let first = place_many(&sites[0], &id, 3 * LIMIT).await;
    assert_eq!(first.len(), LIMIT);
    // One stream too many, because the second replica does not know the others yet.
    let more = place_many(&sites[1], &id, 1).await;
    assert_eq!(more.len(), 1);
    wait_for_count(&sites[1], &id, LIMIT + 1).await;
    for site in &sites {
        assert_eq!(place_many(site, &id, LIMIT).await.len(), 0);
    }
    assert_eq!(place_many(&sites[1], &other, 1).await.len(), 1);

    // The second replica learns of the closed streams without any request of its own.
    send_report(&sites[0], "g", 1, closed_report(&first[..LIMIT / 2])).await;
    wait_for_count(&sites[1], &id, LIMIT / 2 + 1).await;
    assert_eq!(
        place_many(&sites[1], &id, LIMIT).await.len(),
        LIMIT - LIMIT / 2 - 1
    );
}

#[tokio::test]
async fn while_the_ledger_is_down_each_replica_counts_by_itself() {
    let mut redis = Redis::start().await.unwrap();
    let (sites, _engine) = start_two_replicas(&redis.database()).await;
    let id = sites[0].login().await;
    assert_eq!(place_many(&sites[0], &id, LIMIT).await.len(), LIMIT);
    assert_eq!(place_many(&sites[1], &id, 1).await.len(), 1);
    wait_for_count(&sites[1], &id, LIMIT + 1).await;
    redis.kill();
    wait_for_count(&sites[1], &id, 1).await;
    assert_eq!(place_many(&sites[1], &id, 2 * LIMIT).await.len(), LIMIT - 1);
    assert_eq!(place_many(&sites[0], &id, LIMIT).await.len(), 0);

    redis.restart().await.unwrap();
    for site in &sites {
        wait_for_count(site, &id, 2 * LIMIT).await;
        assert_eq!(place_many(site, &id, LIMIT).await.len(), 0);
    }
}
