//! The embedded store: one SQLite file with a write-ahead log, for one replica. Tables come from
//! `migrations/sqlite`.

mod backend;
mod dialect;

use crate::StoreError;
use crate::sql::SqlStore;
use crate::sql::connection::Replacement;
use crate::sql::migrations::migrations;
use sqlx::Sqlite;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::path::Path;
use std::time::Duration;

pub(crate) fn migrations() -> Migrator {
    migrations!(
        "sqlite": "0001_sessions_and_accounts", "0002_families_events_locks", "0003_notes", "0004_devices",
        "0005_affinity", "0006_display_names",
    )
}

/// How long a writer waits for another writer, and a caller for a connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// For concurrent reads; SQLite allows one writer at a time in any case.
const MAX_CONNECTIONS: u32 = 4;

/// Sessions, accounts, events, affinity records and coordination in one SQLite file.
pub type SqliteStore = SqlStore<Sqlite>;

impl SqlStore<Sqlite> {
    /// Opens the file and migrates it; creates it and its directory if missing. Only its owner can read the
    /// file.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        create_private_file(path).map_err(|e| open_error("create", path, &e))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let replacement = Replacement::default();
        let replaced = replacement.clone();
        let pool = SqlitePoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(BUSY_TIMEOUT)
            .before_acquire(move |_, about| {
                let usable = !replaced.applies_to(about.age);
                Box::pin(async move { Ok(usable) })
            })
            .connect_with(options)
            .await
            .map_err(|e| open_error("open", path, &e))?;
        migrations()
            .run(&pool)
            .await
            .map_err(|e| open_error("migrate", path, &e))?;
        Ok(Self::new(pool, replacement, BUSY_TIMEOUT))
    }
}

fn open_error(what: &str, path: &Path, error: &dyn std::error::Error) -> StoreError {
    StoreError::Down(format!("cannot {what} {}: {error}", path.display()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;
    use crate::{AccountStore, Coordination, SessionStore};

    async fn open(dir: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&dir.path().join("a/b/berth.db"))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_closed_store_returns_errors_not_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir).await;
        store.close().await;
        assert!(
            store
                .find(&conformance::session_row(1).id_hash)
                .await
                .is_err()
        );
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
