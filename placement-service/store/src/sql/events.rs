//! The event log in a SQL store. How entries get their sequence numbers is up to the database: see its
//! `append`.

macro_rules! sql_events {
    // `$newest`: a scalar query for the newest sequence number that was ever assigned.
    ($store:ty, $newest:literal) => {
        #[async_trait::async_trait]
        impl crate::EventLog for $store {
            async fn append(&self, events: &[Event]) -> Result<(), StoreError> {
                let mut connection = self.acquire().await?;
                let mut transaction = Self::begin(&mut connection).await?;
                append(&mut transaction, events).await?;
                transaction.commit().await?;
                connection.release();
                Ok(())
            }

            async fn events_after(
                &self,
                sequence: u64,
                limit: u32,
            ) -> Result<Vec<(u64, Event)>, StoreError> {
                let mut connection = self.acquire().await?;
                let rows = sqlx::query(
                    "SELECT sequence, event FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2",
                )
                .bind(to_i64(sequence)?)
                .bind(i64::from(limit))
                .fetch_all(&mut **connection)
                .await?;
                connection.release();
                rows.iter()
                    .map(|row| {
                        let event = from_json("an event", row.try_get("event")?)?;
                        Ok((to_u64(row.try_get("sequence")?)?, event))
                    })
                    .collect()
            }

            async fn bounds(&self) -> Result<Bounds, StoreError> {
                let mut connection = self.acquire().await?;
                let row = sqlx::query(concat!(
                    "SELECT (", $newest, ") AS newest, (SELECT min(sequence) FROM events) AS oldest"
                ))
                .fetch_one(&mut **connection)
                .await?;
                connection.release();
                let newest = to_u64(row.try_get("newest")?)?;
                let oldest: Option<i64> = row.try_get("oldest")?;
                let oldest = oldest.map(to_u64).transpose()?;
                Ok(Bounds {
                    removed: oldest.map_or(newest, |oldest| oldest.saturating_sub(1)),
                    newest,
                })
            }

            async fn trim_events(&self, keep: u64) -> Result<(), StoreError> {
                let mut connection = self.acquire().await?;
                sqlx::query(
                    "DELETE FROM events WHERE sequence <= (SELECT max(sequence) FROM events) - $1",
                )
                .bind(to_i64(keep)?)
                .execute(&mut **connection)
                .await?;
                connection.release();
                Ok(())
            }

            async fn position(&self, reader: &str) -> Result<Option<u64>, StoreError> {
                let mut connection = self.acquire().await?;
                let found: Option<i64> =
                    sqlx::query_scalar("SELECT sequence FROM positions WHERE reader = $1")
                        .bind(reader)
                        .fetch_optional(&mut **connection)
                        .await?;
                connection.release();
                found.map(to_u64).transpose()
            }

            async fn set_position(&self, reader: &str, sequence: u64) -> Result<(), StoreError> {
                let mut connection = self.acquire().await?;
                sqlx::query(
                    "INSERT INTO positions (reader, sequence) VALUES ($1, $2) \
                     ON CONFLICT (reader) DO UPDATE SET sequence = $2",
                )
                .bind(reader)
                .bind(to_i64(sequence)?)
                .execute(&mut **connection)
                .await?;
                connection.release();
                Ok(())
            }

            async fn add_dead_letter(
                &self,
                letter: &DeadLetter,
                keep: u32,
            ) -> Result<(), StoreError> {
                let mut connection = self.acquire().await?;
                sqlx::query(
                    "INSERT INTO dead_letters (webhook, sequence, letter) VALUES ($1, $2, $3) \
                     ON CONFLICT (webhook, sequence) DO UPDATE SET letter = $3",
                )
                .bind(&letter.webhook)
                .bind(to_i64(letter.sequence)?)
                .bind(to_json(letter)?)
                .execute(&mut **connection)
                .await?;
                sqlx::query(
                    "DELETE FROM dead_letters WHERE webhook = $1 AND sequence <= \
                     (SELECT sequence FROM dead_letters WHERE webhook = $1 \
                     ORDER BY sequence DESC LIMIT 1 OFFSET $2)",
                )
                .bind(&letter.webhook)
                .bind(i64::from(keep))
                .execute(&mut **connection)
                .await?;
                connection.release();
                Ok(())
            }

            async fn dead_letter(
                &self,
                webhook: &str,
                sequence: u64,
            ) -> Result<Option<DeadLetter>, StoreError> {
                let mut connection = self.acquire().await?;
                let found: Option<String> = sqlx::query_scalar(
                    "SELECT letter FROM dead_letters WHERE webhook = $1 AND sequence = $2",
                )
                .bind(webhook)
                .bind(to_i64(sequence)?)
                .fetch_optional(&mut **connection)
                .await?;
                connection.release();
                found.map(|text| from_json("a dead letter", &text)).transpose()
            }

            async fn dead_letters(
                &self,
                webhook: &str,
                limit: u32,
            ) -> Result<Vec<DeadLetter>, StoreError> {
                let mut connection = self.acquire().await?;
                let rows: Vec<String> = sqlx::query_scalar(
                    "SELECT letter FROM dead_letters WHERE webhook = $1 ORDER BY sequence LIMIT $2",
                )
                .bind(webhook)
                .bind(i64::from(limit))
                .fetch_all(&mut **connection)
                .await?;
                connection.release();
                let letters = rows.iter();
                letters.map(|text| from_json("a dead letter", text)).collect()
            }

            async fn remove_dead_letter(
                &self,
                webhook: &str,
                sequence: u64,
            ) -> Result<bool, StoreError> {
                let mut connection = self.acquire().await?;
                let done =
                    sqlx::query("DELETE FROM dead_letters WHERE webhook = $1 AND sequence = $2")
                        .bind(webhook)
                        .bind(to_i64(sequence)?)
                        .execute(&mut **connection)
                        .await?;
                connection.release();
                Ok(done.rows_affected() > 0)
            }
        }
    };
}

pub(crate) use sql_events;
