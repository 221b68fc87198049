//! State that the replicas on one SQL store share: server keys, leases, claims and texts.

macro_rules! sql_coordination {
    ($store:ty) => {
        #[async_trait::async_trait]
        impl crate::Coordination for $store {
            async fn server_key(
                &self,
                name: &str,
                candidate: [u8; 32],
            ) -> Result<[u8; 32], StoreError> {
                let mut connection = self.acquire().await?;
                sqlx::query(
                    "INSERT INTO server_keys (name, key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                )
                .bind(name)
                .bind(candidate.as_slice())
                .execute(&mut **connection)
                .await?;
                let key: Vec<u8> =
                    sqlx::query_scalar("SELECT key FROM server_keys WHERE name = $1")
                        .bind(name)
                        .fetch_one(&mut **connection)
                        .await?;
                connection.release();
                key.try_into()
                    .map_err(|_| StoreError::malformed("a server key", "it has not 32 bytes"))
            }

            async fn lease(
                &self,
                name: &str,
                holder: &str,
                now_ms: u64,
                ttl_ms: u64,
            ) -> Result<bool, StoreError> {
                let mut connection = self.acquire().await?;
                let done = sqlx::query(
                    "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) \
                     ON CONFLICT (name) DO UPDATE SET holder = $2, until = $3 \
                     WHERE leases.holder = $2 OR leases.until <= $4",
                )
                .bind(name)
                .bind(holder)
                .bind(to_i64(now_ms.saturating_add(ttl_ms))?)
                .bind(to_i64(now_ms)?)
                .execute(&mut **connection)
                .await?;
                connection.release();
                Ok(done.rows_affected() > 0)
            }

            async fn claim(
                &self,
                key: &str,
                now_ms: u64,
                until_ms: u64,
            ) -> Result<bool, StoreError> {
                let mut connection = self.acquire().await?;
                let done = sqlx::query(
                    "INSERT INTO used (key, until) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE \
                     SET until = $2 WHERE used.until <= $3",
                )
                .bind(key)
                .bind(to_i64(until_ms)?)
                .bind(to_i64(now_ms)?)
                .execute(&mut **connection)
                .await?;
                connection.release();
                Ok(done.rows_affected() > 0)
            }

            async fn is_claimed(&self, key: &str, now_ms: u64) -> Result<bool, StoreError> {
                let mut connection = self.acquire().await?;
                let found = sqlx::query("SELECT 1 FROM used WHERE key = $1 AND until > $2")
                    .bind(key)
                    .bind(to_i64(now_ms)?)
                    .fetch_optional(&mut **connection)
                    .await?;
                connection.release();
                Ok(found.is_some())
            }

            async fn purge_claims(&self, now_ms: u64) -> Result<(), StoreError> {
                let mut connection = self.acquire().await?;
                sqlx::query("DELETE FROM used WHERE until <= $1")
                    .bind(to_i64(now_ms)?)
                    .execute(&mut **connection)
                    .await?;
                connection.release();
                Ok(())
            }

            async fn put_value(&self, name: &str, text: Option<&str>) -> Result<(), StoreError> {
                let mut connection = self.acquire().await?;
                let query = match text {
                    Some(text) => sqlx::query(
                        "INSERT INTO notes (name, text) VALUES ($1, $2) \
                         ON CONFLICT (name) DO UPDATE SET text = $2",
                    )
                    .bind(name)
                    .bind(text),
                    None => sqlx::query("DELETE FROM notes WHERE name = $1").bind(name),
                };
                query.execute(&mut **connection).await?;
                connection.release();
                Ok(())
            }

            async fn list_values(
                &self,
                prefix: &str,
            ) -> Result<std::collections::BTreeMap<String, String>, StoreError> {
                let mut connection = self.acquire().await?;
                let all: Vec<(String, String)> =
                    sqlx::query_as("SELECT name, text FROM notes WHERE substr(name, 1, $1) = $2")
                        .bind(i32::try_from(prefix.len()).unwrap_or(i32::MAX))
                        .bind(prefix)
                        .fetch_all(&mut **connection)
                        .await?;
                connection.release();
                Ok(all.into_iter().collect())
            }

            async fn ping(&self) -> Result<(), StoreError> {
                let mut connection = self.acquire().await?;
                sqlx::query("SELECT 1").execute(&mut **connection).await?;
                connection.release();
                Ok(())
            }
        }
    };
}

pub(crate) use sql_coordination;
