//! Leases that were written by a clock that was ahead.

use crate::LIMIT;
use crate::postgres::database_of;
use berth_databases::{Postgres, Redis};
use berth_store::Coordination;
use berth_store::postgres::PostgresStore;
use berth_store::redis::RedisStore;
use berth_store::sqlite::SqliteStore;
use sqlx::Connection;
use std::time::Duration;

#[tokio::test]
async fn a_lease_of_a_clock_that_was_ahead_counts_as_expired() {
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let postgres = PostgresStore::open(&url, LIMIT).await.unwrap();
    let insert = "INSERT INTO leases (name, holder, until) VALUES ('sweep', 'gone', 9000000000000)";
    server.execute(database_of(&url), insert).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.db");
    let sqlite = SqliteStore::open(&path).await.unwrap();
    let mut direct = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::query(insert).execute(&mut direct).await.unwrap();
    let server = Redis::shared().await.unwrap();
    let url = server.database();
    let redis_store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let mut set = redis::cmd("HSET");
    set.arg("{berth}:leases")
        .arg("sweep")
        .arg("9000000000000 gone");
    set.query_async::<()>(&mut direct).await.unwrap();
    let stores: [&dyn Coordination; 3] = [&postgres, &sqlite, &redis_store];
    for store in stores {
        assert_eq!(
            store.lease("sweep", "us", Duration::from_secs(60)).await,
            Ok(true)
        );
        assert_eq!(
            store.lease("sweep", "other", Duration::from_secs(60)).await,
            Ok(false)
        );
    }
}
