//! The contract on Redis, and what only a shared server can do.
#![allow(clippy::unwrap_used, reason = "tests")]

use berth_databases::Redis;
use berth_store::conformance::{self, event, session_row};
use berth_store::redis::RedisStore;
use berth_store::session_id::IdHash;
use berth_store::{SessionQuery, SessionRow, SessionStore, StoreError};
use redis::AsyncCommands;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

async fn new_store() -> (Arc<Redis>, RedisStore) {
    let server = Redis::shared().await.unwrap();
    let url = server.database();
    let store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    (server, store)
}

macro_rules! contract {
    ($($part:ident)+) => {
        $(#[tokio::test]
        async fn $part() {
            let (_server, store) = new_store().await;
            conformance::$part(&store).await;
        })+
    };
}

contract!(sessions lists limits accounts events coordination leases);
contract!(races limit_race coordination_race log_race versions_and_clocks);
contract!(affinity_states affinity_expiry affinity_lists affinity_owners tab_affinity);
contract!(affinity_claim_race affinity_limit_race affinity_late_hold_race affinity_sweep_race);

#[tokio::test]
async fn lost_parents() {
    let server = Redis::shared().await.unwrap();
    let url = server.database();
    let store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    let lose = async |row: &SessionRow| {
        let client = redis::Client::open(url.as_str()).unwrap();
        let mut direct = client.get_multiplexed_async_connection().await.unwrap();
        let refs = "{berth}:refs";
        let id: String = direct.hget(refs, &row.session_ref).await.unwrap();
        let lost: usize = direct.del(format!("{{berth}}:session:{id}")).await.unwrap();
        assert_eq!(lost, 1);
    };
    conformance::lost_parents(&store, lose).await;
}

/// More sessions than one step of the search inspects.
#[tokio::test]
async fn orphans_are_found_among_many_sessions() {
    let (_server, store) = new_store().await;
    let parent_id = IdHash([255; 32]);
    for number in 0..2_000_u32 {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let is_orphan = number % 500 == 7;
        let row = SessionRow {
            id_hash: IdHash(id),
            session_ref: format!("ref-{number}"),
            ancestors: is_orphan.then_some(parent_id).into_iter().collect(),
            ..session_row(1)
        };
        store.insert(&row, None, &event(&row, None)).await.unwrap();
    }
    let found = store.list(&SessionQuery::Orphans, 10).await.unwrap();
    let found: Vec<_> = found.iter().map(|row| row.session_ref.as_str()).collect();
    assert_eq!(found, ["ref-1007", "ref-1507", "ref-507", "ref-7"]);
}

#[tokio::test]
async fn rows_survive_a_kill_and_fields_of_a_newer_binary_are_left_alone() {
    let mut server = Redis::start().await.unwrap();
    let url = server.database();
    let store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    let row = session_row(7);
    store.insert(&row, None, &event(&row, None)).await.unwrap();
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = direct.keys("{berth}:session:*").await.unwrap();
    let _: () = direct
        .hset(keys.first().unwrap(), "mood", "fine")
        .await
        .unwrap();
    assert_eq!(store.find(&row.id_hash).await, Ok(Some(row.clone())));
    server.kill();
    assert!(matches!(
        store.find(&row.id_hash).await,
        Err(StoreError::Down(_))
    ));
    server.restart().await.unwrap();
    assert_eq!(
        store.find(&row.id_hash).await,
        Ok(Some(row)),
        "no new start"
    );
}

#[tokio::test]
async fn what_redis_evicted_is_not_listed() {
    let server = Redis::shared().await.unwrap();
    let url = server.database();
    let store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    let row = session_row(7);
    store.insert(&row, None, &event(&row, None)).await.unwrap();
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = direct.keys("{berth}:session:*").await.unwrap();
    let _: () = direct.del(&keys).await.unwrap();
    let over = SessionQuery::ExpiredAt(u64::MAX >> 1);
    assert_eq!(store.list(&over, 1).await, Ok(Vec::new()));
    assert_eq!(store.count_live(0).await, Ok(0));
}
