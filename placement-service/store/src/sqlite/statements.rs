//! The statements in which SQLite differs. SQLite has one writer at a time, so sequence numbers become visible
//! in order, and a limit that is counted within a transaction holds.

use super::SqliteStore;
use crate::row::{concat_hashes, from_json, read_rows, to_i64, to_json, to_u64};
use crate::session_id::IdHash;
use crate::sql::{
    SESSION_COLUMNS, account_from, session_from, sql_accounts, sql_coordination, sql_events,
    sql_sessions,
};
use crate::{
    AccountChange, AccountRow, Attempts, Bounds, DeadLetter, Event, InsertResult, SessionQuery,
    SessionRemoval, SessionRow, StoreError,
};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use std::collections::HashSet;

sql_sessions!(SqliteStore);
sql_accounts!(SqliteStore);
sql_events!(
    SqliteStore,
    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)"
);
sql_coordination!(SqliteStore);

/// Appends entries within a transaction.
async fn append(connection: &mut SqliteConnection, events: &[Event]) -> Result<(), StoreError> {
    for event in events {
        sqlx::query("INSERT INTO events (event) VALUES ($1)")
            .bind(to_json(event)?)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Nothing to lock: a write transaction excludes all other writers.
async fn lock_account(
    _connection: &mut SqliteConnection,
    _account: &str,
) -> Result<(), StoreError> {
    Ok(())
}

async fn touch(
    connection: &mut SqliteConnection,
    seen: &[(IdHash, u64)],
) -> Result<(), StoreError> {
    for (id, at_ms) in seen {
        sqlx::query(
            "UPDATE sessions SET last_seen_at = $1 WHERE id_hash = $2 AND last_seen_at < $1",
        )
        .bind(to_i64(*at_ms)?)
        .bind(id.0.as_slice())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Deletes the sessions that exist and, where required, have expired. Returns their ids.
async fn delete(
    connection: &mut SqliteConnection,
    endings: &[SessionRemoval],
) -> Result<HashSet<IdHash>, StoreError> {
    let mut gone = HashSet::new();
    for ending in endings {
        let over_at = ending.only_if_expired_at_ms.map(to_i64).transpose()?;
        let done = sqlx::query("DELETE FROM sessions WHERE id_hash = $1 AND ends_at <= $2")
            .bind(ending.id_hash.0.as_slice())
            .bind(over_at.unwrap_or(i64::MAX))
            .execute(&mut *connection)
            .await?;
        if done.rows_affected() > 0 {
            gone.insert(ending.id_hash);
        }
    }
    Ok(gone)
}
