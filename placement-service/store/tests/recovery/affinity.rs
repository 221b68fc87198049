//! Affinity records after a crash of the server, and claims that were written by a clock that was ahead.

use crate::LIMIT;
use crate::postgres::database_of;
use berth_databases::{Postgres, Redis};
use berth_store::conformance::{affinity_claim, affinity_id, affinity_target};
use berth_store::postgres::PostgresStore;
use berth_store::redis::RedisStore;
use berth_store::sqlite::SqliteStore;
use berth_store::{AffinityState, AffinityStore, ClaimResult};
use sqlx::Connection;
use std::path::Path;

/// In the year 2255.
const AHEAD_MS: u64 = 9_000_000_000_000;

/// Claims a key, and another one that is held then. Returns the epochs.
async fn prepare(store: &impl AffinityStore) -> (u64, u64) {
    let mut epochs = Vec::new();
    for seed in 1..=2 {
        let claim = store.claim_affinity(&affinity_claim(seed, "r1")).await;
        let ClaimResult::Claimed { epoch } = claim.unwrap() else {
            panic!("not claimed");
        };
        epochs.push(epoch);
    }
    let target = affinity_target("engine-0");
    let id = affinity_id(2);
    let held = store
        .hold_affinity(&id, epochs[1], "r1", &target, 100 * LIMIT)
        .await;
    assert!(held.unwrap());
    (epochs[0], epochs[1])
}

async fn check_unchanged(store: &impl AffinityStore, (preparing, held): (u64, u64)) {
    let claimed = store.find_affinity(&affinity_id(1)).await.unwrap().unwrap();
    let claimer = "r1".to_owned();
    assert_eq!(claimed.state, AffinityState::Preparing { claimer });
    assert_eq!(claimed.epoch, preparing);
    let found = store.find_affinity(&affinity_id(2)).await.unwrap().unwrap();
    let target = affinity_target("engine-0");
    assert_eq!(found.state, AffinityState::Held(target.clone()));
    assert_eq!(found.epoch, held);
    // The claimer goes on where it was.
    let id = affinity_id(1);
    let held = store
        .hold_affinity(&id, preparing, "r1", &target, LIMIT)
        .await;
    assert!(held.unwrap());
}

#[tokio::test]
async fn affinity_survives_a_crash_of_the_server() {
    let mut server = Postgres::start().await.unwrap();
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    let epochs = prepare(&store).await;
    server.kill();
    assert!(store.find_affinity(&affinity_id(1)).await.is_err());
    server.restart().await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    check_unchanged(&store, epochs).await;
    let mut server = Redis::start().await.unwrap();
    let store = RedisStore::open(&server.database(), "berth", LIMIT).await;
    let store = store.unwrap();
    let epochs = prepare(&store).await;
    server.kill();
    assert!(store.find_affinity(&affinity_id(1)).await.is_err());
    server.restart().await.unwrap();
    check_unchanged(&store, epochs).await;
}

#[tokio::test]
async fn affinity_survives_a_restart_with_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let epochs = prepare(&store).await;
    store.close().await;
    let store = SqliteStore::open(&path).await.unwrap();
    check_unchanged(&store, epochs).await;
}

async fn check_claimable(store: &impl AffinityStore, ahead: u64) {
    let claim = store.claim_affinity(&affinity_claim(1, "r2")).await;
    assert_eq!(claim, Ok(ClaimResult::Claimed { epoch: ahead + 1 }));
    let again = store.claim_affinity(&affinity_claim(1, "r1")).await;
    assert!(matches!(again, Ok(ClaimResult::Preparing { .. })));
}

#[tokio::test]
async fn a_claim_of_a_clock_that_was_ahead_counts_as_expired() {
    let move_ahead =
        format!("UPDATE affinity SET expires_at = {AHEAD_MS} WHERE state = 'preparing'");
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    let (epoch, _) = prepare(&store).await;
    server
        .execute(database_of(&url), &move_ahead)
        .await
        .unwrap();
    check_claimable(&store, epoch).await;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let (epoch, _) = prepare(&store).await;
    execute_in_file(&path, &move_ahead).await;
    check_claimable(&store, epoch).await;

    let server = Redis::shared().await.unwrap();
    let url = server.database();
    let store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    let (epoch, _) = prepare(&store).await;
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let mut keys = redis::cmd("KEYS");
    let keys: Vec<String> = keys
        .arg("{berth}:affinity:*")
        .query_async(&mut direct)
        .await
        .unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        let mut set = redis::cmd("HSET");
        set.arg(key).arg("expires_at").arg(AHEAD_MS);
        set.query_async::<()>(&mut direct).await.unwrap();
    }
    check_claimable(&store, epoch).await;
}

async fn execute_in_file(path: &Path, sql: &str) {
    let url = format!("sqlite://{}", path.display());
    let mut direct = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(&mut direct)
        .await
        .unwrap();
}
