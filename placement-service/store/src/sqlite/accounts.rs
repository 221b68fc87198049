//! Accounts in SQLite.

use super::SqliteStore;
use crate::row::{from_json, to_i64, to_json, to_u64};
use crate::{AccountRow, AccountStore, Attempts, StoreError};
use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

#[async_trait]
impl AccountStore for SqliteStore {
    async fn add_account(&self, row: &AccountRow) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO accounts (name, password_hash, roles, created_at, locked, failures, locked_until) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&row.name)
        .bind(&row.password_hash)
        .bind(to_json(&row.roles)?)
        .bind(to_i64(row.created_at_ms)?)
        .bind(row.locked)
        .bind(row.attempts.failures)
        .bind(to_i64(row.attempts.locked_until_ms)?)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn find_account(&self, name: &str) -> Result<Option<AccountRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM accounts WHERE name = ?")
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(account_from).transpose()
    }

    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM accounts ORDER BY name")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(account_from).collect()
    }

    async fn update_account(&self, row: &AccountRow) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE accounts SET password_hash = ?, roles = ?, locked = ? WHERE name = ?",
        )
        .bind(&row.password_hash)
        .bind(to_json(&row.roles)?)
        .bind(row.locked)
        .bind(&row.name)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn set_attempts(
        &self,
        name: &str,
        before: Attempts,
        after: Attempts,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE accounts SET failures = ?, locked_until = ? \
             WHERE name = ? AND failures = ? AND locked_until = ?",
        )
        .bind(after.failures)
        .bind(to_i64(after.locked_until_ms)?)
        .bind(name)
        .bind(before.failures)
        .bind(to_i64(before.locked_until_ms)?)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}

fn account_from(row: &SqliteRow) -> Result<AccountRow, StoreError> {
    Ok(AccountRow {
        name: row.try_get("name")?,
        password_hash: row.try_get("password_hash")?,
        roles: from_json(row.try_get("roles")?)?,
        created_at_ms: to_u64(row.try_get("created_at")?)?,
        locked: row.try_get("locked")?,
        attempts: Attempts {
            failures: row.try_get("failures")?,
            locked_until_ms: to_u64(row.try_get("locked_until")?)?,
        },
    })
}
