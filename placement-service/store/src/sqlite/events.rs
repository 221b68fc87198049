//! The event log in SQLite. One writer at a time, so sequence numbers appear in their order.

use super::SqliteStore;
use crate::row::{from_json, to_i64, to_json, to_u64};
use crate::{Bounds, DeadLetter, Event, EventLog, StoreError};
use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};

/// Adds an entry within a transaction.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    event: &Event,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO events (event) VALUES (?)")
        .bind(to_json(event)?)
        .execute(connection)
        .await?;
    Ok(())
}

#[async_trait]
impl EventLog for SqliteStore {
    async fn append(&self, events: &[Event]) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        for event in events {
            append(&mut transaction, event).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn events_after(
        &self,
        sequence: u64,
        limit: u32,
    ) -> Result<Vec<(u64, Event)>, StoreError> {
        let rows = sqlx::query(
            "SELECT sequence, event FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?",
        )
        .bind(to_i64(sequence)?)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let event = from_json(row.try_get("event")?)?;
                Ok((to_u64(row.try_get("sequence")?)?, event))
            })
            .collect()
    }

    async fn bounds(&self) -> Result<Bounds, StoreError> {
        let row = sqlx::query(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) AS newest, \
             (SELECT min(sequence) FROM events) AS oldest",
        )
        .fetch_one(&self.pool)
        .await?;
        let newest = to_u64(row.try_get("newest")?)?;
        let oldest: Option<i64> = row.try_get("oldest")?;
        let oldest = oldest.map(to_u64).transpose()?;
        Ok(Bounds {
            removed: oldest.map_or(newest, |oldest| oldest.saturating_sub(1)),
            newest,
        })
    }

    async fn trim_events(&self, keep: u64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM events WHERE sequence <= (SELECT max(sequence) FROM events) - ?")
            .bind(to_i64(keep)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn position(&self, reader: &str) -> Result<Option<u64>, StoreError> {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT sequence FROM positions WHERE reader = ?")
                .bind(reader)
                .fetch_optional(&self.pool)
                .await?;
        found.map(to_u64).transpose()
    }

    async fn set_position(&self, reader: &str, sequence: u64) -> Result<(), StoreError> {
        sqlx::query("INSERT OR REPLACE INTO positions (reader, sequence) VALUES (?, ?)")
            .bind(reader)
            .bind(to_i64(sequence)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn add_dead_letter(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT OR REPLACE INTO dead_letters (webhook, sequence, letter) VALUES (?, ?, ?)",
        )
        .bind(&letter.webhook)
        .bind(to_i64(letter.sequence)?)
        .bind(to_json(letter)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn dead_letters(&self, webhook: &str, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let rows: Vec<String> = sqlx::query_scalar(
            "SELECT letter FROM dead_letters WHERE webhook = ? ORDER BY sequence LIMIT ?",
        )
        .bind(webhook)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|letter| from_json(letter)).collect()
    }

    async fn remove_dead_letter(&self, webhook: &str, sequence: u64) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM dead_letters WHERE webhook = ? AND sequence = ?")
            .bind(webhook)
            .bind(to_i64(sequence)?)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}
