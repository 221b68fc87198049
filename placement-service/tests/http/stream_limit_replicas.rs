//! The limit of a session's streams over replicas: they exchange their counts through the ledger, a moment late.

use crate::events::CLIENTS;
use crate::ledger::replicas;
use crate::site::Site;
use crate::stream_limit::{SilentEngine, closed, counts, is_refused, place, report, stream};
use berth_databases::Redis;
use futures_util::future::join_all;

const LIMIT: usize = 20;

/// Two replicas with a pool `p` where a session may have so many streams.
async fn two(url: &str) -> (Vec<Site>, SilentEngine) {
    let engine = SilentEngine::start().await;
    let limit = format!("max_streams_per_session: {LIMIT},");
    let pool = engine.pool("p", &limit);
    let yaml = format!("{CLIENTS}pools:\n{pool}routes: [ {{ path: /p, pool: p }} ]\n");
    (replicas(2, url, &yaml).await, engine)
}

/// The streams that so many placements at once get.
async fn placed(site: &Site, session: &str, count: usize) -> Vec<String> {
    let answers = join_all((0..count).map(|_| place(site, session, "/p"))).await;
    let (placed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    refused.iter().for_each(|answer| is_refused(answer));
    placed.into_iter().map(stream).collect()
}

/// Awaits that the replica counts so many streams of the session.
async fn knows(site: &Site, session: &str, count: usize) {
    counts(site, &site.session_ref(session).await, count).await;
}

#[tokio::test]
async fn a_session_gets_what_the_replicas_allow_together_but_for_one_exchange() {
    let redis = Redis::shared().await.unwrap();
    let (sites, _engine) = two(&redis.database()).await;
    let (id, other) = (sites[0].login().await, sites[0].login().await);
    let first = placed(&sites[0], &id, 3 * LIMIT).await;
    assert_eq!(first.len(), LIMIT);
    // One too many, before the second replica knows of the others.
    let more = placed(&sites[1], &id, 1).await;
    assert_eq!(more.len(), 1);
    knows(&sites[1], &id, LIMIT + 1).await;
    for site in &sites {
        assert_eq!(placed(site, &id, LIMIT).await.len(), 0);
    }
    assert_eq!(placed(&sites[1], &other, 1).await.len(), 1);

    // The second replica learns of it although nothing happens there.
    report(&sites[0], "g", 1, closed(&first[..LIMIT / 2])).await;
    knows(&sites[1], &id, LIMIT / 2 + 1).await;
    assert_eq!(
        placed(&sites[1], &id, LIMIT).await.len(),
        LIMIT - LIMIT / 2 - 1
    );
}

#[tokio::test]
async fn while_the_ledger_is_down_each_replica_counts_by_itself() {
    let mut redis = Redis::start().await.unwrap();
    let (sites, _engine) = two(&redis.database()).await;
    let id = sites[0].login().await;
    assert_eq!(placed(&sites[0], &id, LIMIT).await.len(), LIMIT);
    assert_eq!(placed(&sites[1], &id, 1).await.len(), 1);
    knows(&sites[1], &id, LIMIT + 1).await;
    redis.kill();
    knows(&sites[1], &id, 1).await;
    assert_eq!(placed(&sites[1], &id, 2 * LIMIT).await.len(), LIMIT - 1);
    assert_eq!(placed(&sites[0], &id, LIMIT).await.len(), 0);

    redis.start_again().await.unwrap();
    for site in &sites {
        knows(site, &id, 2 * LIMIT).await;
        assert_eq!(placed(site, &id, LIMIT).await.len(), 0);
    }
}
