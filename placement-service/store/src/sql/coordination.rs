//! State that the replicas on one SQL database share: server keys, leases, claims and texts.

use super::SqlStore;
use super::dialect::Dialect;
use super::rows::read_first;
use super::statement::Statement;
use crate::row::to_i64;
use crate::{Coordination, StoreError};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;

#[async_trait]
impl<D: Dialect> Coordination for SqlStore<D> {
    async fn server_key(&self, name: &str, candidate: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let insert = "INSERT INTO server_keys (name, key) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let insert = Statement::new(insert).bind(name).bind(candidate.as_slice());
        let select = Statement::new("SELECT key FROM server_keys WHERE name = $1").bind(name);
        let mut connection = self.acquire().await?;
        connection.execute(insert).await?;
        let key = read_first::<D, Vec<u8>>(&connection.fetch(select).await?, "key")?;
        let key = key.and_then(|key| key.try_into().ok());
        key.ok_or_else(|| StoreError::malformed("a server key", "it has not 32 bytes"))
    }

    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool, StoreError> {
        let now = D::NOW_MS;
        // A lease that ends later than a new one would is of a clock that was ahead: it counts as expired.
        let upsert = Statement::composed(format!(
            "INSERT INTO leases (name, holder, until) VALUES ($1, $2, {now} + $3) \
             ON CONFLICT (name) DO UPDATE SET holder = $2, until = {now} + $3 \
             WHERE leases.holder = $2 OR leases.until <= {now} OR leases.until > {now} + $3"
        ))
        .bind(name)
        .bind(holder)
        .bind(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        Ok(self.execute(upsert).await? > 0)
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let delete = Statement::new("DELETE FROM leases WHERE name = $1 AND holder = $2");
        self.execute(delete.bind(name).bind(holder)).await.map(drop)
    }

    async fn claim(&self, key: &str, now_ms: u64, until_ms: u64) -> Result<bool, StoreError> {
        let upsert = Statement::new(
            "INSERT INTO used (key, until) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE \
             SET until = $2 WHERE used.until <= $3",
        )
        .bind(key)
        .bind(to_i64(until_ms)?)
        .bind(to_i64(now_ms)?);
        Ok(self.execute(upsert).await? > 0)
    }

    async fn is_claimed(&self, key: &str, now_ms: u64) -> Result<bool, StoreError> {
        let select = "SELECT until FROM used WHERE key = $1 AND until > $2";
        let select = Statement::new(select).bind(key).bind(to_i64(now_ms)?);
        Ok(!self.fetch(select).await?.is_empty())
    }

    async fn purge_claims(&self) -> Result<(), StoreError> {
        let delete = format!("DELETE FROM used WHERE until <= {}", D::NOW_MS);
        self.execute(Statement::composed(delete)).await.map(drop)
    }

    async fn put_value(&self, name: &str, text: Option<&str>) -> Result<(), StoreError> {
        let change = match text {
            Some(text) => Statement::new(
                "INSERT INTO notes (name, text) VALUES ($1, $2) \
                 ON CONFLICT (name) DO UPDATE SET text = $2",
            )
            .bind(name)
            .bind(text),
            None => Statement::new("DELETE FROM notes WHERE name = $1").bind(name),
        };
        self.execute(change).await.map(drop)
    }

    async fn list_values(&self, prefix: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let select = "SELECT name, text FROM notes WHERE substr(name, 1, length($1)) = $1";
        let rows = self.fetch(Statement::new(select).bind(prefix)).await?;
        let read = |row| Ok((D::read(row, "name")?, D::read(row, "text")?));
        rows.iter().map(read).collect()
    }

    async fn heartbeat(&self) -> Result<(), StoreError> {
        let upsert = Statement::composed(format!(
            "INSERT INTO notes (name, text) VALUES ('heartbeat', CAST({now} AS TEXT)) \
             ON CONFLICT (name) DO UPDATE SET text = CAST({now} AS TEXT)",
            now = D::NOW_MS
        ));
        let mut connection = self.acquire().await?;
        connection.execute(upsert).await?;
        // Once after a fault, not with every heartbeat: the check reads the whole database.
        if let Some(faults) = self.replacement.unchecked_faults() {
            D::check_integrity(&mut connection).await?;
            self.replacement.mark_checked(faults);
        }
        Ok(())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.execute(Statement::new("SELECT 1")).await.map(drop)
    }
}
