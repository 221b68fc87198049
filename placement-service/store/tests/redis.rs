//! The contract on Redis, and what only a shared server can do.
#![allow(clippy::unwrap_used, reason = "tests")]

use berth_databases::Redis;
use berth_store::contract;
use berth_store::redis::RedisStore;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

async fn fresh() -> (Arc<Redis>, RedisStore) {
    let server = Redis::shared().await.unwrap();
    let url = server.database();
    let store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    (server, store)
}

macro_rules! contract {
    ($($part:ident)+) => {
        $(#[tokio::test]
        async fn $part() {
            let (_server, store) = fresh().await;
            contract::$part(&store).await;
        })+
    };
}

contract!(sessions lists limits accounts events coordination);
