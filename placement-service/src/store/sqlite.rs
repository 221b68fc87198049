//! The embedded store: one SQLite file, write-ahead log, tables made by `migrations/sqlite`.

use super::{
    AccountRow, AccountStore, PAYLOAD_VERSION, SessionRow, SessionState, SessionStore, StoreError,
};
use crate::session_id::IdHash;
use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use std::path::Path;
use std::time::Duration;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a writer waits for another one, and a caller for a connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Readers run side by side; SQLite lets one write at a time whatever this says.
const CONNECTIONS: u32 = 4;

/// Sessions and accounts in one SQLite file.
pub struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, creating it and its directory, and migrates it. The file is readable by its
    /// owner only.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        create_private_file(path)
            .map_err(|e| StoreError(format!("cannot create {}: {e}", path.display())))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(|e| StoreError(format!("cannot open {}: {e}", path.display())))?;
        MIGRATIONS
            .run(&pool)
            .await
            .map_err(|e| StoreError(format!("cannot migrate {}: {e}", path.display())))?;
        Ok(Self { pool })
    }

    /// Closes every connection. Calls after it fail, as those to a store that is down do.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn create_private_file(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self(error.to_string())
    }
}

#[async_trait]
impl SessionStore for SqliteStore {
    async fn insert(&self, row: &SessionRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sessions (id_hash, payload_version, account, roles, created_at, \
             last_seen_at, idle_timeout, absolute_expiry, parent, runtime, state, claims) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(row.id_hash.0.as_slice())
        .bind(row.payload_version)
        .bind(&row.account)
        .bind(to_json(&row.roles)?)
        .bind(to_i64(row.created_at_ms)?)
        .bind(to_i64(row.last_seen_at_ms)?)
        .bind(to_i64(row.idle_timeout_ms)?)
        .bind(to_i64(row.absolute_expiry_ms)?)
        .bind(row.parent.map(|p| p.0.to_vec()))
        .bind(&row.runtime)
        .bind(row.state.as_str())
        .bind(to_json(&row.claims)?)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn find(&self, id: &IdHash) -> Result<Option<SessionRow>, StoreError> {
        let row = sqlx::query(
            "SELECT payload_version, account, roles, created_at, last_seen_at, idle_timeout, \
             absolute_expiry, parent, runtime, state, claims FROM sessions WHERE id_hash = ?",
        )
        .bind(id.0.as_slice())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| session_from(*id, &row)).transpose()
    }

    async fn touch(&self, seen: &[(IdHash, u64)]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for (id, at_ms) in seen {
            sqlx::query(
                "UPDATE sessions SET last_seen_at = max(last_seen_at, ?) WHERE id_hash = ?",
            )
            .bind(to_i64(*at_ms)?)
            .bind(id.0.as_slice())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn remove(&self, id: &IdHash) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM sessions WHERE id_hash = ?")
            .bind(id.0.as_slice())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

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

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }
}

#[async_trait]
impl AccountStore for SqliteStore {
    async fn add_account(&self, row: &AccountRow) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO accounts (name, password_hash, roles, created_at) VALUES (?, ?, ?, ?) \
             ON CONFLICT DO NOTHING",
        )
        .bind(&row.name)
        .bind(&row.password_hash)
        .bind(to_json(&row.roles)?)
        .bind(to_i64(row.created_at_ms)?)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn find_account(&self, name: &str) -> Result<Option<AccountRow>, StoreError> {
        let row = sqlx::query(
            "SELECT name, password_hash, roles, created_at FROM accounts WHERE name = ?",
        )
        .bind(name)
        .fetch_optional(&self.pool)
        .await?;
        row.as_ref().map(account_from).transpose()
    }

    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, password_hash, roles, created_at FROM accounts ORDER BY name",
        )
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(account_from).collect()
    }
}

fn session_from(id_hash: IdHash, row: &SqliteRow) -> Result<SessionRow, StoreError> {
    let payload_version: i64 = row.try_get("payload_version")?;
    if payload_version > PAYLOAD_VERSION {
        return Err(StoreError(format!(
            "a session has payload version {payload_version}, newer than this binary"
        )));
    }
    let state: &str = row.try_get("state")?;
    if state != SessionState::Active.as_str() {
        return Err(StoreError(format!("a session has the state {state:?}")));
    }
    let parent: Option<Vec<u8>> = row.try_get("parent")?;
    let parent = parent.map(|bytes| {
        bytes
            .try_into()
            .map(IdHash)
            .map_err(|_| StoreError("a session's parent has not 32 bytes".to_owned()))
    });
    Ok(SessionRow {
        id_hash,
        payload_version,
        account: row.try_get("account")?,
        roles: from_json(row.try_get("roles")?)?,
        created_at_ms: to_u64(row.try_get("created_at")?)?,
        last_seen_at_ms: to_u64(row.try_get("last_seen_at")?)?,
        idle_timeout_ms: to_u64(row.try_get("idle_timeout")?)?,
        absolute_expiry_ms: to_u64(row.try_get("absolute_expiry")?)?,
        parent: parent.transpose()?,
        runtime: row.try_get("runtime")?,
        state: SessionState::Active,
        claims: from_json(row.try_get("claims")?)?,
    })
}

fn account_from(row: &SqliteRow) -> Result<AccountRow, StoreError> {
    Ok(AccountRow {
        name: row.try_get("name")?,
        password_hash: row.try_get("password_hash")?,
        roles: from_json(row.try_get("roles")?)?,
        created_at_ms: to_u64(row.try_get("created_at")?)?,
    })
}

fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError(e.to_string()))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError(format!("a row is malformed: {e}")))
}

fn to_i64(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|e| StoreError(e.to_string()))
}

fn to_u64(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|e| StoreError(format!("a row is malformed: {e}")))
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a/b/berth.db"))
            .await
            .unwrap();
        contract::sessions(&store).await;
        contract::accounts(&store).await;
    }

    #[tokio::test]
    async fn rows_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.db");
        let row = contract::session_row(7);
        let store = SqliteStore::open(&path).await.unwrap();
        store.insert(&row).await.unwrap();
        let key = store.server_key("k", [1; 32]).await.unwrap();
        store.close().await;

        let store = SqliteStore::open(&path).await.unwrap();
        assert_eq!(store.find(&row.id_hash).await.unwrap(), Some(row));
        assert_eq!(store.server_key("k", [2; 32]).await.unwrap(), key);
    }

    #[tokio::test]
    async fn a_closed_store_is_an_error_and_not_an_absence() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("berth.db"))
            .await
            .unwrap();
        store.close().await;
        assert!(store.find(&contract::session_row(1).id_hash).await.is_err());
        assert!(store.find_account("demo").await.is_err());
        assert!(store.ping().await.is_err());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_file_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("berth.db");
        let _store = SqliteStore::open(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
