//! The event log in a SQL database. How entries get their sequence numbers is up to the dialect.

use super::SqlStore;
use super::dialect::Dialect;
use super::rows::read_first;
use super::statement::Statement;
use crate::row::{from_json, to_i64, to_json, to_u64};
use crate::{Bounds, DeadLetter, Event, EventLog, StoreError};
use async_trait::async_trait;

#[async_trait]
impl<D: Dialect> EventLog for SqlStore<D> {
    async fn append(&self, events: &[Event]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        D::append(&mut transaction, events).await?;
        transaction.commit().await
    }

    async fn events_after(
        &self,
        sequence: u64,
        limit: u32,
    ) -> Result<Vec<(u64, Event)>, StoreError> {
        let select = Statement::new(
            "SELECT sequence, event FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        )
        .bind(to_i64(sequence)?)
        .bind(i64::from(limit));
        let rows = self.fetch(select).await?;
        let read = |row| {
            let (sequence, event): (i64, String) =
                (D::read(row, "sequence")?, D::read(row, "event")?);
            Ok((to_u64(sequence)?, from_json("an event", &event)?))
        };
        rows.iter().map(read).collect()
    }

    async fn bounds(&self) -> Result<Bounds, StoreError> {
        let newest = D::NEWEST_EVENT;
        let select = Statement::composed(format!(
            "SELECT ({newest}) AS newest, (SELECT min(sequence) FROM events) AS oldest"
        ));
        let rows = self.fetch(select).await?;
        let newest = to_u64(read_first::<D, i64>(&rows, "newest")?.unwrap_or_default())?;
        let oldest = read_first::<D, Option<i64>>(&rows, "oldest")?.flatten();
        let oldest = oldest.map(to_u64).transpose()?;
        Ok(Bounds {
            removed: oldest.map_or(newest, |oldest| oldest.saturating_sub(1)),
            newest,
        })
    }

    async fn trim_events(&self, keep: u64) -> Result<(), StoreError> {
        let delete = "DELETE FROM events WHERE sequence <= (SELECT max(sequence) FROM events) - $1";
        let delete = Statement::new(delete).bind(to_i64(keep)?);
        self.execute(delete).await.map(drop)
    }

    async fn position(&self, reader: &str) -> Result<Option<u64>, StoreError> {
        let select = "SELECT sequence FROM positions WHERE reader = $1";
        let rows = self.fetch(Statement::new(select).bind(reader)).await?;
        let found = read_first::<D, i64>(&rows, "sequence")?;
        found.map(to_u64).transpose()
    }

    async fn set_position(&self, reader: &str, sequence: u64) -> Result<(), StoreError> {
        let upsert = Statement::new(
            "INSERT INTO positions (reader, sequence) VALUES ($1, $2) \
             ON CONFLICT (reader) DO UPDATE SET sequence = $2",
        )
        .bind(reader)
        .bind(to_i64(sequence)?);
        self.execute(upsert).await.map(drop)
    }

    async fn add_dead_letter(&self, letter: &DeadLetter, keep: u32) -> Result<(), StoreError> {
        let upsert = Statement::new(
            "INSERT INTO dead_letters (webhook, sequence, letter) VALUES ($1, $2, $3) \
             ON CONFLICT (webhook, sequence) DO UPDATE SET letter = $3",
        )
        .bind(letter.webhook.as_str())
        .bind(to_i64(letter.sequence)?)
        .bind(to_json(letter)?.as_str());
        let trim = Statement::new(
            "DELETE FROM dead_letters WHERE webhook = $1 AND sequence <= \
             (SELECT sequence FROM dead_letters WHERE webhook = $1 \
             ORDER BY sequence DESC LIMIT 1 OFFSET $2)",
        )
        .bind(letter.webhook.as_str())
        .bind(i64::from(keep));
        let mut connection = self.acquire().await?;
        connection.execute(upsert).await?;
        connection.execute(trim).await.map(drop)
    }

    async fn dead_letter(
        &self,
        webhook: &str,
        sequence: u64,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let select = "SELECT letter FROM dead_letters WHERE webhook = $1 AND sequence = $2";
        let select = Statement::new(select).bind(webhook).bind(to_i64(sequence)?);
        let found = read_first::<D, String>(&self.fetch(select).await?, "letter")?;
        let found = found.map(|text| from_json("a dead letter", &text));
        found.transpose()
    }

    async fn dead_letters(&self, webhook: &str, limit: u32) -> Result<Vec<DeadLetter>, StoreError> {
        let select =
            "SELECT letter FROM dead_letters WHERE webhook = $1 ORDER BY sequence LIMIT $2";
        let select = Statement::new(select).bind(webhook).bind(i64::from(limit));
        let rows = self.fetch(select).await?;
        let read = |row| {
            let letter: String = D::read(row, "letter")?;
            from_json("a dead letter", &letter)
        };
        rows.iter().map(read).collect()
    }

    async fn remove_dead_letter(&self, webhook: &str, sequence: u64) -> Result<bool, StoreError> {
        let delete = "DELETE FROM dead_letters WHERE webhook = $1 AND sequence = $2";
        let delete = Statement::new(delete).bind(webhook).bind(to_i64(sequence)?);
        Ok(self.execute(delete).await? > 0)
    }
}
