//! In what SQLite differs: it has one writer at a time, so sequence numbers become visible in order, and a limit
//! that is counted within a transaction holds.

use crate::row::{to_i64, to_json};
use crate::session_id::IdHash;
use crate::sql::connection::SqlConnection;
use crate::sql::dialect::Dialect;
use crate::sql::statement::{Read, Statement};
use crate::{AffinityId, Event, SessionRemoval, StoreError};
use sqlx::{Error, Sqlite};
use std::collections::HashSet;

impl Dialect for Sqlite {
    const NEWEST_EVENT: &'static str =
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)";
    const NOW_MS: &'static str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    /// Nothing to lock: a write excludes all others.
    const FOR_UPDATE: &'static str = "";
    const SKIP_LOCKED: &'static str = "";

    async fn check_integrity(connection: &mut SqlConnection<Self>) -> Result<(), StoreError> {
        let rows = connection
            .fetch(Statement::new("PRAGMA quick_check(1)"))
            .await?;
        let first = rows.first().ok_or(Error::RowNotFound)?;
        let result: String = Self::read(first, "quick_check")?;
        if result == "ok" {
            return Ok(());
        }
        Err(StoreError::Down(format!("the file is damaged: {result}")))
    }

    async fn append(
        connection: &mut SqlConnection<Self>,
        events: &[Event],
    ) -> Result<(), StoreError> {
        for event in events {
            let insert = Statement::new("INSERT INTO events (event) VALUES ($1)");
            let insert = insert.bind(to_json(event)?.as_str());
            connection.execute(insert).await?;
        }
        Ok(())
    }

    /// Nothing to lock: a write transaction excludes all other writers.
    async fn lock_name(
        _connection: &mut SqlConnection<Self>,
        _name: &str,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    async fn touch(
        connection: &mut SqlConnection<Self>,
        seen: &[(IdHash, u64)],
    ) -> Result<(), StoreError> {
        for (id, at_ms) in seen {
            let update = Statement::new(
                "UPDATE sessions SET last_seen_at = $1 WHERE id_hash = $2 AND last_seen_at < $1",
            )
            .bind(to_i64(*at_ms)?)
            .bind(id.0.as_slice());
            connection.execute(update).await?;
        }
        Ok(())
    }

    async fn delete(
        connection: &mut SqlConnection<Self>,
        removals: &[SessionRemoval],
    ) -> Result<HashSet<IdHash>, StoreError> {
        let mut gone = HashSet::new();
        for removal in removals {
            let over_at = removal.only_if_expired_at_ms.map(to_i64).transpose()?;
            let delete =
                Statement::new("DELETE FROM sessions WHERE id_hash = $1 AND ends_at <= $2")
                    .bind(removal.id_hash.0.as_slice())
                    .bind(over_at.unwrap_or(i64::MAX));
            if connection.execute(delete).await? > 0 {
                gone.insert(removal.id_hash);
            }
        }
        Ok(gone)
    }

    async fn touch_affinity(
        connection: &mut SqlConnection<Self>,
        active: &[(AffinityId, i64)],
    ) -> Result<(), StoreError> {
        for (id, ago_ms) in active {
            let at = format!("({} - $1)", Self::NOW_MS);
            let update = Statement::composed(format!(
                "UPDATE affinity SET last_active_at = {at}, expires_at = {at} + idle_timeout \
                 WHERE id = $2 AND state = 'held' AND last_active_at < {at}"
            ));
            let update = update.bind(*ago_ms).bind(id.0.as_slice());
            connection.execute(update).await?;
        }
        Ok(())
    }
}
