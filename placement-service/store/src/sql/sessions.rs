//! Sessions in a SQL database. How rows are locked is up to the dialect.

use super::SqlStore;
use super::connection::SqlConnection;
use super::dialect::Dialect;
use super::rows::{SESSION_COLUMNS, read_first, session_from};
use super::statement::Statement;
use crate::row::{concat_hashes, read_rows, to_i64, to_json, to_u64};
use crate::session_id::IdHash;
use crate::{
    Event, InsertResult, SessionQuery, SessionRemoval, SessionRow, SessionStore, StoreError,
};
use async_trait::async_trait;

#[async_trait]
impl<D: Dialect> SessionStore for SqlStore<D> {
    async fn insert(
        &self,
        row: &SessionRow,
        limit: Option<u32>,
        event: &Event,
    ) -> Result<InsertResult, StoreError> {
        let insert = insert_statement(row)?;
        let mut transaction = self.begin().await?;
        if let Some(limit) = limit {
            D::lock_name(&mut transaction, &row.account).await?;
            let live = count_of_account(&mut transaction, row).await?;
            if live >= u64::from(limit) {
                transaction.rollback().await?;
                return Ok(InsertResult::LimitReached);
            }
        }
        transaction.execute(insert).await?;
        D::append(&mut transaction, std::slice::from_ref(event)).await?;
        transaction.commit().await?;
        Ok(InsertResult::Inserted)
    }

    async fn find(&self, id: &IdHash) -> Result<Option<SessionRow>, StoreError> {
        let select = format!("SELECT {SESSION_COLUMNS} FROM sessions WHERE id_hash = $1");
        let select = Statement::composed(select).bind(id.0.as_slice());
        let rows = self.fetch(select).await?;
        rows.first().map(session_from::<D>).transpose()
    }

    async fn find_by_ref(&self, name: &str) -> Result<Option<SessionRow>, StoreError> {
        let select = format!("SELECT {SESSION_COLUMNS} FROM sessions WHERE session_ref = $1");
        let rows = self.fetch(Statement::composed(select).bind(name)).await?;
        rows.first().map(session_from::<D>).transpose()
    }

    async fn touch(&self, seen: &[(IdHash, u64)]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        D::touch(&mut transaction, seen).await?;
        transaction.commit().await
    }

    async fn remove(&self, removals: &[SessionRemoval]) -> Result<Vec<IdHash>, StoreError> {
        let mut transaction = self.begin().await?;
        let gone = D::delete(&mut transaction, removals).await?;
        let removed = removals.iter().filter(|r| gone.contains(&r.id_hash));
        let (ids, events): (Vec<_>, Vec<_>) = removed.map(|r| (r.id_hash, r.event.clone())).unzip();
        D::append(&mut transaction, &events).await?;
        transaction.commit().await?;
        Ok(ids)
    }

    async fn list(&self, query: &SessionQuery, limit: u32) -> Result<Vec<SessionRow>, StoreError> {
        let rows = self.fetch(list_statement(query, limit)?).await?;
        read_rows(query, rows.iter().map(session_from::<D>))
    }

    async fn count_live(&self, now_ms: u64) -> Result<u64, StoreError> {
        let count = "SELECT count(*) AS count FROM sessions WHERE ends_at > $1";
        let count = Statement::new(count).bind(to_i64(now_ms)?);
        let count = read_first::<D, i64>(&self.fetch(count).await?, "count")?;
        to_u64(count.unwrap_or_default())
    }
}

/// The live sessions of the row's account that have no parent.
async fn count_of_account<D: Dialect>(
    transaction: &mut SqlConnection<D>,
    row: &SessionRow,
) -> Result<u64, StoreError> {
    let count = Statement::new(
        "SELECT count(*) AS count FROM sessions \
         WHERE account = $1 AND parent IS NULL AND ends_at > $2",
    )
    .bind(row.account.as_str())
    .bind(to_i64(row.created_at_ms)?);
    let count = read_first::<D, i64>(&transaction.fetch(count).await?, "count")?;
    to_u64(count.unwrap_or_default())
}

fn insert_statement<D: Dialect>(row: &SessionRow) -> Result<Statement<D>, StoreError> {
    let provider = row.provider.as_ref();
    let insert = Statement::composed(format!(
        "INSERT INTO sessions ({SESSION_COLUMNS}, parent) VALUES \
         ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
    ));
    Ok(insert
        .bind(row.id_hash.0.as_slice())
        .bind(row.session_ref.as_str())
        .bind(row.payload_version)
        .bind(row.account.as_str())
        .bind(to_json(&row.roles)?.as_str())
        .bind(to_i64(row.created_at_ms)?)
        .bind(to_i64(row.last_seen_at_ms)?)
        .bind(to_i64(row.idle_timeout_ms)?)
        .bind(to_i64(row.absolute_expiry_ms)?)
        .bind(concat_hashes(&row.ancestors).as_slice())
        .bind(row.runtime.as_str())
        .bind(row.state.as_str())
        .bind(to_json(&row.claims)?.as_str())
        .bind(provider.map(|p| p.provider.as_str()))
        .bind(provider.map(|p| p.subject.as_str()))
        .bind(provider.and_then(|p| p.session.as_deref()))
        .bind(provider.and_then(|p| p.logout_hint.as_deref()))
        .bind(row.display_name.as_str())
        .bind(row.parent().map(|p| p.0.as_slice())))
}

fn list_statement<D: Dialect>(
    query: &SessionQuery,
    limit: u32,
) -> Result<Statement<D>, StoreError> {
    let list = |condition: &str| {
        Statement::composed(format!(
            "SELECT {SESSION_COLUMNS} FROM sessions WHERE {condition} \
             ORDER BY created_at, session_ref LIMIT {limit}"
        ))
    };
    Ok(match query {
        SessionQuery::Account(account) => list("account = $1").bind(account.as_str()),
        SessionQuery::ChildrenOf(id) => list("parent = $1").bind(id.0.as_slice()),
        SessionQuery::Orphans => list(
            "parent IS NOT NULL AND NOT EXISTS \
             (SELECT 1 FROM sessions AS p WHERE p.id_hash = sessions.parent)",
        ),
        SessionQuery::ExpiredAt(now_ms) => list("ends_at <= $1").bind(to_i64(*now_ms)?),
        SessionQuery::Provider {
            provider,
            subject: Some(subject),
            session: None,
        } => list("provider = $1 AND provider_subject = $2")
            .bind(provider.as_str())
            .bind(subject.as_str()),
        SessionQuery::Provider {
            provider,
            subject,
            session,
        } => list(
            "provider = $1 AND provider_session = $2 AND coalesce(provider_subject = $3, TRUE)",
        )
        .bind(provider.as_str())
        .bind(session.as_deref())
        .bind(subject.as_deref()),
    })
}
