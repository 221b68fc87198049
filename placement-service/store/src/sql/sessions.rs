//! Sessions in a SQL store. Locking is up to the database: see its `lock_account`, `touch` and `delete`.

macro_rules! sql_sessions {
    ($store:ty) => {
        #[async_trait::async_trait]
        impl crate::SessionStore for $store {
            async fn insert(
                &self,
                row: &SessionRow,
                limit: Option<u32>,
                event: &Event,
            ) -> Result<InsertResult, StoreError> {
                let mut connection = self.acquire().await?;
                let mut transaction = Self::begin(&mut connection).await?;
                if let Some(limit) = limit {
                    lock_account(&mut transaction, &row.account).await?;
                    let live: i64 = sqlx::query_scalar(
                        "SELECT count(*) FROM sessions \
                         WHERE account = $1 AND parent IS NULL AND ends_at > $2",
                    )
                    .bind(&row.account)
                    .bind(to_i64(row.created_at_ms)?)
                    .fetch_one(&mut *transaction)
                    .await?;
                    if to_u64(live)? >= u64::from(limit) {
                        transaction.rollback().await?;
                        connection.release();
                        return Ok(InsertResult::LimitReached);
                    }
                }
                let provider = row.provider.as_ref();
                let columns = SESSION_COLUMNS;
                sqlx::query(AssertSqlSafe(format!(
                    "INSERT INTO sessions ({columns}, parent) VALUES \
                     ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
                )))
                .bind(row.id_hash.0.as_slice())
                .bind(&row.session_ref)
                .bind(row.payload_version)
                .bind(&row.account)
                .bind(to_json(&row.roles)?)
                .bind(to_i64(row.created_at_ms)?)
                .bind(to_i64(row.last_seen_at_ms)?)
                .bind(to_i64(row.idle_timeout_ms)?)
                .bind(to_i64(row.absolute_expiry_ms)?)
                .bind(concat_hashes(&row.ancestors))
                .bind(&row.runtime)
                .bind(row.state.as_str())
                .bind(to_json(&row.claims)?)
                .bind(provider.map(|p| &p.provider))
                .bind(provider.map(|p| &p.subject))
                .bind(provider.and_then(|p| p.session.as_ref()))
                .bind(provider.and_then(|p| p.logout_hint.as_ref()))
                .bind(row.parent().map(|p| p.0.to_vec()))
                .execute(&mut *transaction)
                .await?;
                append(&mut transaction, std::slice::from_ref(event)).await?;
                transaction.commit().await?;
                connection.release();
                Ok(InsertResult::Inserted)
            }

            async fn find(&self, id: &IdHash) -> Result<Option<SessionRow>, StoreError> {
                let mut connection = self.acquire().await?;
                let row = sqlx::query(AssertSqlSafe(format!(
                    "SELECT {SESSION_COLUMNS} FROM sessions WHERE id_hash = $1"
                )))
                .bind(id.0.as_slice())
                .fetch_optional(&mut **connection)
                .await?;
                connection.release();
                row.as_ref().map(session_from).transpose()
            }

            async fn find_by_ref(&self, name: &str) -> Result<Option<SessionRow>, StoreError> {
                let mut connection = self.acquire().await?;
                let row = sqlx::query(AssertSqlSafe(format!(
                    "SELECT {SESSION_COLUMNS} FROM sessions WHERE session_ref = $1"
                )))
                .bind(name)
                .fetch_optional(&mut **connection)
                .await?;
                connection.release();
                row.as_ref().map(session_from).transpose()
            }

            async fn touch(&self, seen: &[(IdHash, u64)]) -> Result<(), StoreError> {
                let mut connection = self.acquire().await?;
                let mut transaction = Self::begin(&mut connection).await?;
                touch(&mut transaction, seen).await?;
                transaction.commit().await?;
                connection.release();
                Ok(())
            }

            async fn remove(&self, endings: &[SessionRemoval]) -> Result<Vec<IdHash>, StoreError> {
                let mut connection = self.acquire().await?;
                let mut transaction = Self::begin(&mut connection).await?;
                let gone = delete(&mut transaction, endings).await?;
                let removed = endings.iter().filter(|e| gone.contains(&e.id_hash));
                let (ids, events): (Vec<_>, Vec<_>) =
                    removed.map(|e| (e.id_hash, e.event.clone())).unzip();
                append(&mut transaction, &events).await?;
                transaction.commit().await?;
                connection.release();
                Ok(ids)
            }

            async fn list(
                &self,
                select: &SessionQuery,
                limit: u32,
            ) -> Result<Vec<SessionRow>, StoreError> {
                let list = |condition: &str| {
                    AssertSqlSafe(format!(
                        "SELECT {SESSION_COLUMNS} FROM sessions WHERE {condition} \
                         ORDER BY created_at, session_ref LIMIT {limit}"
                    ))
                };
                let query = match select {
                    SessionQuery::Account(account) => sqlx::query(list("account = $1")).bind(account),
                    SessionQuery::ChildrenOf(id) => sqlx::query(list("parent = $1")).bind(id.0.to_vec()),
                    SessionQuery::Orphans => sqlx::query(list(
                        "parent IS NOT NULL AND NOT EXISTS \
                         (SELECT 1 FROM sessions AS p WHERE p.id_hash = sessions.parent)",
                    )),
                    SessionQuery::ExpiredAt(now_ms) => {
                        sqlx::query(list("ends_at <= $1")).bind(to_i64(*now_ms)?)
                    }
                    SessionQuery::Provider {
                        provider,
                        subject: Some(subject),
                        session: None,
                    } => sqlx::query(list("provider = $1 AND provider_subject = $2"))
                        .bind(provider)
                        .bind(subject),
                    SessionQuery::Provider {
                        provider,
                        subject,
                        session,
                    } => sqlx::query(list(
                        "provider = $1 AND provider_session = $2 AND coalesce(provider_subject = $3, TRUE)",
                    ))
                    .bind(provider)
                    .bind(session)
                    .bind(subject),
                };
                let mut connection = self.acquire().await?;
                let rows = query.fetch_all(&mut **connection).await?;
                connection.release();
                read_rows(select, rows.iter().map(session_from))
            }

            async fn count_live(&self, now_ms: u64) -> Result<u64, StoreError> {
                let mut connection = self.acquire().await?;
                let count: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM sessions WHERE ends_at > $1")
                        .bind(to_i64(now_ms)?)
                        .fetch_one(&mut **connection)
                        .await?;
                connection.release();
                to_u64(count)
            }
        }
    };
}

pub(crate) use sql_sessions;
