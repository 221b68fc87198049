//! The contract on PostgreSQL, and what only a shared server can do.
#![allow(clippy::unwrap_used, reason = "tests")]

use berth_databases::Postgres;
use berth_store::conformance::{self, event, session_row};
use berth_store::postgres::PostgresStore;
use berth_store::{SessionRow, SessionStore, StoreError};
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);

async fn new_store() -> (Arc<Postgres>, PostgresStore) {
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
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
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    let delete = async |row: &SessionRow| {
        let statement = format!(
            "DELETE FROM sessions WHERE session_ref = '{}'",
            row.session_ref
        );
        server.execute(database, &statement).await.unwrap();
    };
    conformance::lost_parents(&store, delete).await;
}

#[tokio::test]
async fn a_database_with_a_stricter_isolation_of_its_own_makes_no_conflicts() {
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let database = url.rsplit('/').next().unwrap();
    let strict =
        format!("ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'");
    server.execute("postgres", &strict).await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    conformance::log_race(&store).await;
}

#[tokio::test]
async fn rows_survive_a_kill_and_columns_of_a_newer_binary_are_left_alone() {
    let mut server = Postgres::start().await.unwrap();
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    let row = session_row(7);
    store.insert(&row, None, &event(&row, None)).await.unwrap();
    assert_eq!(store.find(&row.id_hash).await, Ok(Some(row.clone())));
    let database = url.rsplit('/').next().unwrap();
    let statements =
        "ALTER TABLE sessions ADD COLUMN mood TEXT; ALTER TABLE accounts ADD COLUMN mood TEXT;
        INSERT INTO _sqlx_migrations VALUES (9, 'newer', now(), TRUE, '', 1)";
    server.execute(database, statements).await.unwrap();
    assert_eq!(store.find(&row.id_hash).await, Ok(Some(row.clone())));
    server.kill();
    assert!(matches!(
        store.find(&row.id_hash).await,
        Err(StoreError::Down(_))
    ));
    server.restart().await.unwrap();
    let reopened = PostgresStore::open(&url, LIMIT).await.unwrap();
    assert_eq!(reopened.find(&row.id_hash).await, Ok(Some(row)));
}
