//! A failover to a replica and back.

use crate::{LIMIT, insert, numbered_row, wait_until_writable};
use berth_databases::Redis;
use berth_store::redis::RedisStore;
use berth_store::{Coordination, SessionStore};

#[tokio::test]
async fn a_redis_that_was_a_replica_accepts_writes_again() {
    let server = Redis::start().await.unwrap();
    let url = server.database();
    let store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    insert(&store, 0).await.unwrap();
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let mut replica_of = redis::cmd("REPLICAOF");
    replica_of.arg("127.0.0.1").arg("1");
    replica_of.query_async::<()>(&mut direct).await.unwrap();
    assert!(insert(&store, 1).await.is_err());
    assert!(store.heartbeat().await.is_err());
    store.find(&numbered_row(0).id_hash).await.unwrap().unwrap();
    store.ping().await.unwrap();
    let mut primary = redis::cmd("REPLICAOF");
    primary.arg("NO").arg("ONE");
    primary.query_async::<()>(&mut direct).await.unwrap();
    wait_until_writable(&store, 2..100).await;
    store.heartbeat().await.unwrap();
}
