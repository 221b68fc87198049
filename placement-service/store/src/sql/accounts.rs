//! Accounts in a SQL store: the statements that SQLite and PostgreSQL share.

macro_rules! sql_accounts {
    ($store:ty) => {
        const ACCOUNT_COLUMNS: &str =
            "name, password_hash, roles, created_at, locked, failures, locked_until, devices";

        #[async_trait::async_trait]
        impl crate::AccountStore for $store {
            async fn add_account(&self, row: &AccountRow) -> Result<bool, StoreError> {
                let mut connection = self.acquire().await?;
                let done = sqlx::query(AssertSqlSafe(format!(
                    "INSERT INTO accounts ({ACCOUNT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                     ON CONFLICT DO NOTHING"
                )))
                .bind(&row.name)
                .bind(&row.password_hash)
                .bind(to_json(&row.roles)?)
                .bind(to_i64(row.created_at_ms)?)
                .bind(row.locked)
                .bind(i64::from(row.attempts.failures))
                .bind(to_i64(row.attempts.locked_until_ms)?)
                .bind(&row.devices)
                .execute(&mut **connection)
                .await?;
                connection.release();
                Ok(done.rows_affected() > 0)
            }

            async fn find_account(&self, name: &str) -> Result<Option<AccountRow>, StoreError> {
                let mut connection = self.acquire().await?;
                let row = sqlx::query(AssertSqlSafe(format!(
                    "SELECT {ACCOUNT_COLUMNS} FROM accounts WHERE name = $1"
                )))
                .bind(name)
                .fetch_optional(&mut **connection)
                .await?;
                connection.release();
                row.as_ref().map(account_from).transpose()
            }

            async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
                let mut connection = self.acquire().await?;
                let rows = sqlx::query(AssertSqlSafe(format!(
                    "SELECT {ACCOUNT_COLUMNS} FROM accounts ORDER BY name"
                )))
                .fetch_all(&mut **connection)
                .await?;
                connection.release();
                rows.iter().map(account_from).collect()
            }

            async fn change_account(
                &self,
                name: &str,
                change: &AccountChange,
            ) -> Result<bool, StoreError> {
                let set = |column: &str| {
                    AssertSqlSafe(format!("UPDATE accounts SET {column} = $1 WHERE name = $2"))
                };
                let query = match change {
                    AccountChange::PasswordHash(hash) => {
                        sqlx::query(set("password_hash")).bind(hash)
                    }
                    AccountChange::Roles(roles) => sqlx::query(set("roles")).bind(to_json(roles)?),
                    AccountChange::Locked(locked) => sqlx::query(set("locked")).bind(*locked),
                };
                let mut connection = self.acquire().await?;
                let done = query.bind(name).execute(&mut **connection).await?;
                connection.release();
                Ok(done.rows_affected() > 0)
            }

            async fn set_attempts(
                &self,
                name: &str,
                before: Attempts,
                after: Attempts,
            ) -> Result<bool, StoreError> {
                let mut connection = self.acquire().await?;
                let done = sqlx::query(
                    "UPDATE accounts SET failures = $1, locked_until = $2 \
                     WHERE name = $3 AND failures = $4 AND locked_until = $5",
                )
                .bind(i64::from(after.failures))
                .bind(to_i64(after.locked_until_ms)?)
                .bind(name)
                .bind(i64::from(before.failures))
                .bind(to_i64(before.locked_until_ms)?)
                .execute(&mut **connection)
                .await?;
                connection.release();
                Ok(done.rows_affected() > 0)
            }

            async fn set_devices(
                &self,
                name: &str,
                before: &str,
                after: &str,
            ) -> Result<bool, StoreError> {
                let mut connection = self.acquire().await?;
                let done = sqlx::query(
                    "UPDATE accounts SET devices = $1 WHERE name = $2 AND devices = $3",
                )
                .bind(after)
                .bind(name)
                .bind(before)
                .execute(&mut **connection)
                .await?;
                connection.release();
                Ok(done.rows_affected() > 0)
            }
        }
    };
}

pub(crate) use sql_accounts;
