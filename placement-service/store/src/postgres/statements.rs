//! The statements in which PostgreSQL differs: locking. Rows are locked in the order of their ids and the event
//! counter last, so that transactions cannot deadlock.

use super::PostgresStore;
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
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::HashSet;

sql_sessions!(PostgresStore);
sql_accounts!(PostgresStore);
sql_events!(PostgresStore, "SELECT newest FROM event_counter");
sql_coordination!(PostgresStore);

/// Appends entries within a transaction. Must be its last step: it locks the event counter until the commit.
async fn append(connection: &mut PgConnection, events: &[Event]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = events.iter().map(to_json).collect::<Result<_, _>>()?;
    let before: i64 =
        sqlx::query_scalar("UPDATE event_counter SET newest = newest + $1 RETURNING newest - $1")
            .bind(to_i64(u64::try_from(events.len()).unwrap_or(u64::MAX))?)
            .fetch_one(&mut *connection)
            .await?;
    sqlx::query(
        "INSERT INTO events (sequence, event) \
         SELECT $1 + number, event FROM unnest($2::text[]) WITH ORDINALITY AS new (event, number)",
    )
    .bind(before)
    .bind(texts)
    .execute(connection)
    .await?;
    Ok(())
}

/// Locks an account: until the commit, no other transaction counts its sessions.
async fn lock_account(connection: &mut PgConnection, account: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(account)
        .execute(connection)
        .await?;
    Ok(())
}

async fn touch(connection: &mut PgConnection, seen: &[(IdHash, u64)]) -> Result<(), StoreError> {
    let (ids, times) = columns(seen.iter().map(|(id, at)| (id, *at)))?;
    sqlx::query(
        "WITH mine AS (SELECT s.id_hash, new.at FROM sessions AS s \
         JOIN unnest($1::bytea[], $2::bigint[]) AS new (id, at) ON s.id_hash = new.id \
         ORDER BY s.id_hash FOR UPDATE OF s) \
         UPDATE sessions SET last_seen_at = mine.at FROM mine \
         WHERE sessions.id_hash = mine.id_hash AND sessions.last_seen_at < mine.at",
    )
    .bind(ids)
    .bind(times)
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the sessions that exist and, where required, have expired. Returns their ids.
async fn delete(
    connection: &mut PgConnection,
    endings: &[SessionRemoval],
) -> Result<HashSet<IdHash>, StoreError> {
    const NEVER: u64 = i64::MAX.unsigned_abs();
    let over_at = |ending: &SessionRemoval| ending.only_if_expired_at_ms.unwrap_or(NEVER);
    let (ids, times) = columns(endings.iter().map(|e| (&e.id_hash, over_at(e))))?;
    // `FOR UPDATE` re-evaluates the condition after the lock is acquired, so a session that became active
    // meanwhile stays.
    let gone: Vec<Vec<u8>> = sqlx::query_scalar(
        "WITH mine AS (SELECT s.id_hash FROM sessions AS s \
         JOIN unnest($1::bytea[], $2::bigint[]) AS given (id, over_at) ON s.id_hash = given.id \
         WHERE s.ends_at <= given.over_at ORDER BY s.id_hash FOR UPDATE OF s) \
         DELETE FROM sessions WHERE id_hash IN (SELECT id_hash FROM mine) RETURNING id_hash",
    )
    .bind(ids)
    .bind(times)
    .fetch_all(connection)
    .await?;
    let hash = |bytes: Vec<u8>| {
        let bytes = bytes.try_into();
        bytes
            .map(IdHash)
            .map_err(|_| StoreError::malformed("id_hash", "it has not 32 bytes"))
    };
    gone.into_iter().map(hash).collect()
}

type Columns = (Vec<Vec<u8>>, Vec<i64>);

fn columns<'a>(pairs: impl Iterator<Item = (&'a IdHash, u64)>) -> Result<Columns, StoreError> {
    let columns = pairs.map(|(id, number)| Ok((id.0.to_vec(), to_i64(number)?)));
    columns.collect()
}
