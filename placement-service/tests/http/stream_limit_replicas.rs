//! The limit of a session's streams over replicas: they exchange their counts through the ledger, a moment late.

use crate::ledger::replicas;
use crate::site::{Site, eventually};
use crate::stream_limit::{SilentEngine, closed, is_refused, place, report, stream};
use berth_databases::Redis;
use futures_util::future::join_all;

const LIMIT: usize = 20;

/// Two replicas with a pool `p` where a session may have that many streams, and a pool `few` without sessions.
async fn site(url: &str) -> (Vec<Site>, SilentEngine) {
    let engine = SilentEngine::start().await;
    let limit = format!("max_streams_per_session: {LIMIT},");
    let pool = engine.pool("p", &limit);
    let yaml = format!("pools:\n{pool}routes: [ {{ path: /p, pool: p }} ]\n");
    (replicas(2, url, &yaml).await, engine)
}

/// The streams that so many placements at once get.
async fn placed(site: &Site, session: &str, count: usize) -> Vec<String> {
    let answers = join_all((0..count).map(|_| place(site, session, "/p"))).await;
    let (placed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    refused.iter().for_each(|answer| is_refused(answer));
    placed.into_iter().map(stream).collect()
}

/// Places until it is refused; the streams that it got until then.
async fn placed_until_refused(site: &Site, session: &str) -> Vec<String> {
    let mut streams = Vec::new();
    eventually("the other replica's count is known", async || {
        let answer = place(site, session, "/p").await;
        let placed = answer.status == 200;
        if placed {
            streams.push(stream(&answer));
        } else {
            is_refused(&answer);
        }
        !placed
    })
    .await;
    streams
}

#[tokio::test]
async fn a_session_gets_what_the_replicas_allow_together_but_for_one_exchange() {
    let redis = Redis::shared().await.unwrap();
    let (sites, _engine) = site(&redis.database()).await;
    let (id, other) = (sites[0].login().await, sites[0].login().await);
    let first = placed(&sites[0], &id, 3 * LIMIT).await;
    assert_eq!(first.len(), LIMIT);
    // At the most what one replica allows, before it knows.
    let more = placed_until_refused(&sites[1], &id).await;
    assert!(more.len() <= LIMIT, "{}", more.len());
    for site in &sites {
        assert_eq!(placed(site, &id, LIMIT).await.len(), 0);
    }
    stream(&place(&sites[1], &other, "/p").await);

    // Fewer than the limit are left, all of them through the other one.
    report(&sites[1], "g", 1, closed(&more)).await;
    report(&sites[0], "g", 1, closed(&first[..LIMIT / 2])).await;
    eventually("there is room again", async || {
        place(&sites[1], &id, "/p").await.status == 200
    })
    .await;
    assert!(placed_until_refused(&sites[1], &id).await.len() < LIMIT);
}

#[tokio::test]
async fn while_the_ledger_is_down_each_replica_counts_by_itself() {
    let mut redis = Redis::start().await.unwrap();
    let (sites, _engine) = site(&redis.database()).await;
    let id = sites[0].login().await;
    assert_eq!(placed(&sites[0], &id, LIMIT).await.len(), LIMIT);
    let before = placed_until_refused(&sites[1], &id).await.len();
    redis.kill();
    let mut count = before;
    eventually("the other replica counts no more", async || {
        let answer = place(&sites[1], &id, "/p").await;
        count += usize::from(answer.status == 200);
        count > before
    })
    .await;
    count += placed(&sites[1], &id, 2 * LIMIT).await.len();
    assert_eq!(count, LIMIT, "its own limit holds");
    assert_eq!(placed(&sites[0], &id, LIMIT).await.len(), 0);

    redis.start_again().await.unwrap();
    // Told anew, though nothing has changed: the new one opens no more than before it knows.
    let id = sites[0].login().await;
    assert_eq!(placed(&sites[0], &id, LIMIT).await.len(), LIMIT);
    eventually("the ledger is back", async || {
        sites[1].metric("berth_ledger_up ").await == 1
    })
    .await;
    let more = placed_until_refused(&sites[1], &id).await;
    assert!(more.len() <= LIMIT, "{}", more.len());
}
