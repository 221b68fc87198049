//! Sessions in SQLite.

use super::SqliteStore;
use super::events::append;
use crate::row::{from_json, readable, to_bytes, to_hash, to_hashes, to_i64, to_json, to_u64};
use crate::session_id::IdHash;
use crate::{Ending, Event, Inserted, ProviderLink, Select, SessionRow, SessionStore, StoreError};
use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

#[async_trait]
impl SessionStore for SqliteStore {
    async fn insert(
        &self,
        row: &SessionRow,
        limit: Option<u32>,
        event: &Event,
    ) -> Result<Inserted, StoreError> {
        let mut transaction = self.write().await?;
        if let Some(limit) = limit {
            let live: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM sessions WHERE account = ? AND parent IS NULL AND ends_at > ?",
            )
            .bind(&row.account)
            .bind(to_i64(row.created_at_ms)?)
            .fetch_one(&mut *transaction)
            .await?;
            if to_u64(live)? >= u64::from(limit) {
                return Ok(Inserted::Full);
            }
        }
        let provider = row.provider.as_ref();
        sqlx::query(
            "INSERT INTO sessions (id_hash, session_ref, payload_version, account, roles, created_at, \
             last_seen_at, idle_timeout, absolute_expiry, parent, ancestors, runtime, state, claims, \
             provider, provider_subject, provider_session, provider_hint) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(row.id_hash.0.as_slice())
        .bind(&row.session_ref)
        .bind(row.payload_version)
        .bind(&row.account)
        .bind(to_json(&row.roles)?)
        .bind(to_i64(row.created_at_ms)?)
        .bind(to_i64(row.last_seen_at_ms)?)
        .bind(to_i64(row.idle_timeout_ms)?)
        .bind(to_i64(row.absolute_expiry_ms)?)
        .bind(row.parent().map(|p| p.0.to_vec()))
        .bind(to_bytes(&row.ancestors))
        .bind(&row.runtime)
        .bind(row.state.as_str())
        .bind(to_json(&row.claims)?)
        .bind(provider.map(|p| &p.provider))
        .bind(provider.map(|p| &p.subject))
        .bind(provider.and_then(|p| p.session.as_ref()))
        .bind(provider.and_then(|p| p.logout_hint.as_ref()))
        .execute(&mut *transaction)
        .await?;
        append(&mut transaction, event).await?;
        transaction.commit().await?;
        Ok(Inserted::Yes)
    }

    async fn find(&self, id: &IdHash) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM sessions WHERE id_hash = ?")
            .bind(id.0.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(session_from).transpose()
    }

    async fn find_by_ref(&self, session_ref: &str) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM sessions WHERE session_ref = ?")
            .bind(session_ref)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(session_from).transpose()
    }

    async fn touch(&self, seen: &[(IdHash, u64)]) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        for (id, at_ms) in seen {
            sqlx::query(
                "UPDATE sessions SET last_seen_at = ?1 WHERE id_hash = ?2 AND last_seen_at < ?1",
            )
            .bind(to_i64(*at_ms)?)
            .bind(id.0.as_slice())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn remove(&self, endings: &[Ending]) -> Result<Vec<IdHash>, StoreError> {
        let mut transaction = self.write().await?;
        let mut removed = Vec::new();
        for ending in endings {
            let over_at = ending.only_if_over_at_ms.map(to_i64).transpose()?;
            let done = sqlx::query("DELETE FROM sessions WHERE id_hash = ? AND ends_at <= ?")
                .bind(ending.id_hash.0.as_slice())
                .bind(over_at.unwrap_or(i64::MAX))
                .execute(&mut *transaction)
                .await?;
            if done.rows_affected() > 0 {
                append(&mut transaction, &ending.event).await?;
                removed.push(ending.id_hash);
            }
        }
        transaction.commit().await?;
        Ok(removed)
    }

    async fn list(&self, select: &Select, limit: u32) -> Result<Vec<SessionRow>, StoreError> {
        const ORDER: &str = " ORDER BY created_at, session_ref LIMIT ";
        let list = |condition: &str| {
            sqlx::AssertSqlSafe(format!(
                "SELECT * FROM sessions WHERE {condition}{ORDER}{limit}"
            ))
        };
        let query = match select {
            Select::Account(account) => sqlx::query(list("account = ?")).bind(account),
            Select::ChildrenOf(id) => sqlx::query(list("parent = ?")).bind(id.0.to_vec()),
            Select::Orphans => sqlx::query(list(
                "parent IS NOT NULL AND parent NOT IN (SELECT id_hash FROM sessions)",
            )),
            Select::OverAt(now_ms) => sqlx::query(list("ends_at <= ?")).bind(to_i64(*now_ms)?),
            Select::Provider {
                provider,
                subject: Some(subject),
                session: None,
            } => sqlx::query(list("provider = ? AND provider_subject = ?"))
                .bind(provider)
                .bind(subject),
            Select::Provider {
                provider,
                subject,
                session,
            } => sqlx::query(list(
                "provider = ?1 AND provider_session = ?2 AND coalesce(provider_subject = ?3, 1)",
            ))
            .bind(provider)
            .bind(session)
            .bind(subject),
        };
        let rows = query.fetch_all(&self.pool).await?;
        rows.iter().map(session_from).collect()
    }

    async fn count_live(&self, now_ms: u64) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions WHERE ends_at > ?")
            .bind(to_i64(now_ms)?)
            .fetch_one(&self.pool)
            .await?;
        to_u64(count)
    }
}

fn session_from(row: &SqliteRow) -> Result<SessionRow, StoreError> {
    let payload_version = row.try_get("payload_version")?;
    let state = readable(payload_version, row.try_get("state")?)?;
    let provider: Option<String> = row.try_get("provider")?;
    let provider = match provider {
        None => None,
        Some(provider) => Some(ProviderLink {
            provider,
            subject: row.try_get("provider_subject")?,
            session: row.try_get("provider_session")?,
            logout_hint: row.try_get("provider_hint")?,
        }),
    };
    Ok(SessionRow {
        id_hash: to_hash(row.try_get("id_hash")?)?,
        session_ref: row.try_get("session_ref")?,
        payload_version,
        account: row.try_get("account")?,
        roles: from_json(row.try_get("roles")?)?,
        created_at_ms: to_u64(row.try_get("created_at")?)?,
        last_seen_at_ms: to_u64(row.try_get("last_seen_at")?)?,
        idle_timeout_ms: to_u64(row.try_get("idle_timeout")?)?,
        absolute_expiry_ms: to_u64(row.try_get("absolute_expiry")?)?,
        ancestors: to_hashes(row.try_get("ancestors")?)?,
        runtime: row.try_get("runtime")?,
        state,
        claims: from_json(row.try_get("claims")?)?,
        provider,
    })
}
