//! Accounts in a SQL database. A change that depends on the stored value compares it in the same statement.

use super::SqlStore;
use super::dialect::Dialect;
use super::rows::{ACCOUNT_COLUMNS, account_from};
use super::statement::Statement;
use crate::row::{to_i64, to_json};
use crate::{AccountChange, AccountRow, AccountStore, Attempts, StoreError};
use async_trait::async_trait;

#[async_trait]
impl<D: Dialect> AccountStore for SqlStore<D> {
    async fn add_account(&self, row: &AccountRow) -> Result<bool, StoreError> {
        let insert = Statement::composed(format!(
            "INSERT INTO accounts ({ACCOUNT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT DO NOTHING"
        ))
        .bind(row.name.as_str())
        .bind(row.password_hash.as_str())
        .bind(to_json(&row.roles)?.as_str())
        .bind(to_i64(row.created_at_ms)?)
        .bind(row.locked)
        .bind(i64::from(row.attempts.failures))
        .bind(to_i64(row.attempts.locked_until_ms)?)
        .bind(row.devices.as_str());
        Ok(self.execute(insert).await? > 0)
    }

    async fn find_account(&self, name: &str) -> Result<Option<AccountRow>, StoreError> {
        let select = format!("SELECT {ACCOUNT_COLUMNS} FROM accounts WHERE name = $1");
        let rows = self.fetch(Statement::composed(select).bind(name)).await?;
        rows.first().map(account_from::<D>).transpose()
    }

    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        let select = format!("SELECT {ACCOUNT_COLUMNS} FROM accounts ORDER BY name");
        let rows = self.fetch(Statement::composed(select)).await?;
        rows.iter().map(account_from::<D>).collect()
    }

    async fn change_account(&self, name: &str, change: &AccountChange) -> Result<bool, StoreError> {
        let update = match change {
            AccountChange::PasswordHash(hash) => {
                Statement::new("UPDATE accounts SET password_hash = $1 WHERE name = $2")
                    .bind(hash.as_str())
            }
            AccountChange::Roles(roles) => {
                Statement::new("UPDATE accounts SET roles = $1 WHERE name = $2")
                    .bind(to_json(roles)?.as_str())
            }
            AccountChange::Locked(locked) => {
                Statement::new("UPDATE accounts SET locked = $1 WHERE name = $2").bind(*locked)
            }
        };
        Ok(self.execute(update.bind(name)).await? > 0)
    }

    async fn remove_account(&self, name: &str) -> Result<bool, StoreError> {
        let delete = Statement::new("DELETE FROM accounts WHERE name = $1").bind(name);
        Ok(self.execute(delete).await? > 0)
    }

    async fn set_attempts(
        &self,
        name: &str,
        before: Attempts,
        after: Attempts,
    ) -> Result<bool, StoreError> {
        let update = Statement::new(
            "UPDATE accounts SET failures = $1, locked_until = $2 \
             WHERE name = $3 AND failures = $4 AND locked_until = $5",
        )
        .bind(i64::from(after.failures))
        .bind(to_i64(after.locked_until_ms)?)
        .bind(name)
        .bind(i64::from(before.failures))
        .bind(to_i64(before.locked_until_ms)?);
        Ok(self.execute(update).await? > 0)
    }

    async fn set_devices(&self, name: &str, before: &str, after: &str) -> Result<bool, StoreError> {
        let update =
            Statement::new("UPDATE accounts SET devices = $1 WHERE name = $2 AND devices = $3")
                .bind(after)
                .bind(name)
                .bind(before);
        Ok(self.execute(update).await? > 0)
    }
}
