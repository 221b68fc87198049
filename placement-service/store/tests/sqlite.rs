//! The contract on SQLite, and what only a file can do.
#![allow(clippy::unwrap_used, reason = "tests")]

use berth_store::conformance::{self, event, session_row};
use berth_store::sqlite::SqliteStore;
use berth_store::{Coordination, SessionRow, SessionStore};
use tempfile::TempDir;

async fn new_store() -> (TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("berth.db"))
        .await
        .unwrap();
    (dir, store)
}

macro_rules! contract {
    ($($part:ident)+) => {
        $(#[tokio::test]
        async fn $part() {
            let (_dir, store) = new_store().await;
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
    let (dir, store) = new_store().await;
    let lose = async |row: &SessionRow| {
        let path = dir.path().join("berth.db");
        let url = format!("sqlite:{}", path.display());
        let direct = sqlx::SqlitePool::connect(&url).await.unwrap();
        let lost = sqlx::query("DELETE FROM sessions WHERE session_ref = ?");
        let lost = lost.bind(&row.session_ref).execute(&direct).await;
        assert_eq!(lost.unwrap().rows_affected(), 1);
    };
    conformance::lost_parents(&store, lose).await;
}

#[tokio::test]
async fn rows_survive_a_restart() {
    let (dir, store) = new_store().await;
    let row = session_row(7);
    store.insert(&row, None, &event(&row, None)).await.unwrap();
    let key = store.server_key("k", [1; 32]).await.unwrap();
    store.close().await;

    let store = SqliteStore::open(&dir.path().join("berth.db"))
        .await
        .unwrap();
    assert_eq!(store.find(&row.id_hash).await.unwrap(), Some(row));
    assert_eq!(store.server_key("k", [2; 32]).await.unwrap(), key);
}
