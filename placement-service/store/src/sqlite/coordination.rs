//! What processes on one SQLite file agree on.

use super::SqliteStore;
use crate::row::to_i64;
use crate::{Coordination, StoreError};
use async_trait::async_trait;

#[async_trait]
impl Coordination for SqliteStore {
    async fn server_key(&self, name: &str, candidate: [u8; 32]) -> Result<[u8; 32], StoreError> {
        sqlx::query("INSERT INTO server_keys (name, key) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(candidate.as_slice())
            .execute(&self.pool)
            .await?;
        let key: Vec<u8> = sqlx::query_scalar("SELECT key FROM server_keys WHERE name = ?")
            .bind(name)
            .fetch_one(&self.pool)
            .await?;
        key.try_into()
            .map_err(|_| StoreError(format!("the server key {name} has not 32 bytes")))
    }

    async fn lease(
        &self,
        name: &str,
        holder: &str,
        now_ms: u64,
        ttl_ms: u64,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE \
             SET holder = ?2, until = ?3 WHERE holder = ?2 OR until <= ?4",
        )
        .bind(name)
        .bind(holder)
        .bind(to_i64(now_ms.saturating_add(ttl_ms))?)
        .bind(to_i64(now_ms)?)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn once(&self, key: &str, now_ms: u64, until_ms: u64) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO used (key, until) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE \
             SET until = ?2 WHERE until <= ?3",
        )
        .bind(key)
        .bind(to_i64(until_ms)?)
        .bind(to_i64(now_ms)?)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn forget_once(&self, now_ms: u64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM used WHERE until <= ?")
            .bind(to_i64(now_ms)?)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }
}
