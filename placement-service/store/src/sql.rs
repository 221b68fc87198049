//! What SQLite and PostgreSQL share: the statements, reading rows, and returning connections to the pool. The
//! statements are macros because sqlx types a statement by its database.

mod accounts;
mod coordination;
mod events;
pub(crate) mod migrations;
mod sessions;

pub(crate) use accounts::sql_accounts;
pub(crate) use coordination::sql_coordination;
pub(crate) use events::sql_events;
pub(crate) use migrations::migrations;
pub(crate) use sessions::sql_sessions;

use crate::row::{RawProvider, RawSession, from_json, to_u64};
use crate::{AccountRow, Attempts, SessionRow, StoreError};
use sqlx::pool::PoolConnection;
use sqlx::{ColumnIndex, Connection, Database, Decode, Pool, Row, Type};
use std::ops::{Deref, DerefMut};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Listed by name: with `*`, a column that a newer binary adds would break prepared statements.
pub(crate) const SESSION_COLUMNS: &str = "id_hash, session_ref, payload_version, account, roles, created_at, \
     last_seen_at, idle_timeout, absolute_expiry, ancestors, runtime, state, claims, provider, \
     provider_subject, provider_session, provider_hint";

/// How long a connection may take to answer a ping after its operation was cancelled or failed.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// A pooled connection. After a cancelled or failed operation it returns to the pool only if it still answers a
/// ping. Otherwise connections to a hanging server would occupy the pool for as long as the server hangs.
pub(crate) struct ConnectionGuard<DB: Database>(Option<PoolConnection<DB>>);

impl<DB: Database> ConnectionGuard<DB> {
    pub(crate) async fn acquire(pool: &Pool<DB>) -> Result<Self, StoreError> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    /// Returns the connection to the pool without a ping: every statement has been answered.
    pub(crate) fn release(mut self) {
        drop(self.0.take());
    }
}

impl<DB: Database> Drop for ConnectionGuard<DB> {
    fn drop(&mut self) {
        let Some(mut connection) = self.0.take() else {
            return;
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                let answered = timeout(PING_TIMEOUT, connection.ping()).await;
                if !matches!(answered, Ok(Ok(()))) {
                    drop(connection.detach());
                }
            })),
            Err(_) => drop(connection.detach()),
        }
    }
}

impl<DB: Database> Deref for ConnectionGuard<DB> {
    type Target = PoolConnection<DB>;

    #[allow(clippy::expect_used, reason = "taken by value only")]
    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("present until dropped")
    }
}

impl<DB: Database> DerefMut for ConnectionGuard<DB> {
    #[allow(clippy::expect_used, reason = "taken by value only")]
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut().expect("present until dropped")
    }
}

pub(crate) fn session_from<'r, R>(row: &'r R) -> Result<SessionRow, StoreError>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let provider: Option<String> = row.try_get("provider")?;
    let provider = match provider {
        None => None,
        Some(provider) => Some(RawProvider {
            provider,
            subject: row.try_get("provider_subject")?,
            session: row.try_get("provider_session")?,
            hint: row.try_get("provider_hint")?,
        }),
    };
    let raw = RawSession {
        id_hash: row.try_get("id_hash")?,
        session_ref: row.try_get("session_ref")?,
        payload_version: row.try_get("payload_version")?,
        account: row.try_get("account")?,
        roles: row.try_get("roles")?,
        created_at: row.try_get("created_at")?,
        last_seen_at: row.try_get("last_seen_at")?,
        idle_timeout: row.try_get("idle_timeout")?,
        absolute_expiry: row.try_get("absolute_expiry")?,
        ancestors: row.try_get("ancestors")?,
        runtime: row.try_get("runtime")?,
        state: row.try_get("state")?,
        claims: row.try_get("claims")?,
        provider,
    };
    raw.read()
}

pub(crate) fn account_from<'r, R>(row: &'r R) -> Result<AccountRow, StoreError>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    bool: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let failures: i64 = row.try_get("failures")?;
    Ok(AccountRow {
        name: row.try_get("name")?,
        password_hash: row.try_get("password_hash")?,
        roles: from_json("roles", row.try_get("roles")?)?,
        created_at_ms: to_u64(row.try_get("created_at")?)?,
        locked: row.try_get("locked")?,
        attempts: Attempts {
            failures: u32::try_from(failures).map_err(|e| StoreError::malformed("failures", e))?,
            locked_until_ms: to_u64(row.try_get("locked_until")?)?,
        },
        devices: row.try_get("devices")?,
    })
}
