//! The contract on PostgreSQL, and what only a shared server can do.
#![allow(clippy::unwrap_used, reason = "tests")]

use berth_databases::Postgres;
use berth_store::contract;
use berth_store::postgres::PostgresStore;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

async fn fresh() -> (Arc<Postgres>, PostgresStore) {
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
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
