//! The store in PostgreSQL 12 or newer, shared by replicas. Tables come from `migrations/postgres`.

mod statements;

use crate::StoreError;
use crate::sql::{ConnectionGuard, migrations};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Postgres, Transaction};
use std::str::FromStr;
use std::time::Duration;
use tokio::time::timeout;

pub(crate) fn migrations() -> Migrator {
    migrations!(
        "postgres": "0001_everything", "0002_notes", "0003_devices",
    )
}

const MAX_CONNECTIONS: u32 = 16;
/// Connections kept open when idle, so that a burst after a quiet time does not have to wait for new ones.
const MIN_CONNECTIONS: u32 = 4;
/// A connection that was idle for longer is pinged before use: the server may have restarted.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
/// Covers creating the tables and waiting for another replica that is migrating.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Sessions, accounts, events and coordination in one PostgreSQL database.
pub struct PostgresStore {
    pool: PgPool,
}

impl PostgresStore {
    /// Connects and migrates the database. `limit` applies to each statement, to each lock and to acquiring a
    /// connection.
    pub async fn open(url: &str, limit: Duration) -> Result<Self, StoreError> {
        let options = parse_url(url)?;
        let migrated = timeout(MIGRATION_TIMEOUT, async {
            let mut connection = options.connect().await?;
            migrations()
                .run_direct(None, &mut connection, false)
                .await?;
            connection.close().await?;
            Ok(())
        });
        let late = || StoreError::Down("PostgreSQL does not answer".to_owned());
        migrated
            .await
            .map_err(|_| late())?
            .map_err(|e: sqlx::migrate::MigrateError| {
                StoreError::Down(format!("cannot migrate the database: {e}"))
            })?;
        let milliseconds = limit.as_millis().to_string();
        // The server enforces the limit too: a statement that no caller waits for must not hold locks.
        let options = options.options([
            ("statement_timeout", &milliseconds),
            ("lock_timeout", &milliseconds),
            ("idle_in_transaction_session_timeout", &milliseconds),
        ]);
        // The statements rely on this isolation level. With a stricter default of the database, conflicts would
        // be errors.
        let options = options.options([("default_transaction_isolation", "read committed")]);
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .min_connections(MIN_CONNECTIONS)
            .acquire_timeout(limit)
            .test_before_acquire(false)
            .before_acquire(|connection, about| {
                Box::pin(async move {
                    if about.idle_for > PING_AFTER_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// Checks that a URL is one of a PostgreSQL database. The error does not contain its secrets.
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        parse_url(url).map(drop)
    }

    async fn acquire(&self) -> Result<ConnectionGuard<Postgres>, StoreError> {
        ConnectionGuard::acquire(&self.pool).await
    }

    async fn begin(
        connection: &mut ConnectionGuard<Postgres>,
    ) -> Result<Transaction<'_, Postgres>, StoreError> {
        Ok((***connection).begin().await?)
    }

    /// Closes every connection. Later calls fail as if the store were down.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn parse_url(url: &str) -> Result<PgConnectOptions, StoreError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(StoreError::Data(
            "the URL does not start with postgres://".to_owned(),
        ));
    }
    // sqlx's message is not used: it may quote the URL and so its password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Data("the URL cannot be read as one of PostgreSQL".to_owned()))?;
    Ok(options
        .application_name("berth")
        .disable_statement_logging())
}
