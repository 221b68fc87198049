//! The store in PostgreSQL 12 or newer, shared by replicas. Tables come from `migrations/postgres`.

mod backend;
mod dialect;

use crate::StoreError;
use crate::sql::SqlStore;
use crate::sql::connection::Replacement;
use crate::sql::migrations::migrations;
use crate::store_url;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Postgres, raw_sql};
use std::str::FromStr;
use std::time::Duration;
use tokio::time::timeout;

pub(crate) fn migrations() -> Migrator {
    migrations!(
        "postgres": "0001_everything", "0002_notes", "0003_devices", "0004_affinity",
        "0005_display_names",
    )
}

/// The parameters of a URL that sqlx understands.
const PARAMETERS: [&str; 19] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "options[",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

const MAX_CONNECTIONS: u32 = 16;
/// Connections kept open when idle, so that a burst after a quiet time does not have to wait for new ones.
const MIN_CONNECTIONS: u32 = 4;
/// A connection that was idle for longer is pinged before use: the server may have restarted.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
/// Covers creating the tables and waiting for another replica that is migrating.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Sessions, accounts, events, affinity records and coordination in one PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

impl SqlStore<Postgres> {
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
        let settings = settings(limit);
        let replacement = Replacement::default();
        let replaced = replacement.clone();
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .min_connections(MIN_CONNECTIONS)
            .acquire_timeout(limit)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let settings = AssertSqlSafe(settings.clone());
                Box::pin(async move { raw_sql(settings).execute(connection).await.map(drop) })
            })
            .before_acquire(move |connection, about| {
                let usable = !replaced.applies_to(about.age);
                Box::pin(async move {
                    if usable && about.idle_for > PING_AFTER_IDLE {
                        connection.ping().await?;
                    }
                    Ok(usable)
                })
            })
            .connect_lazy_with(options);
        Ok(Self::new(pool, replacement, limit))
    }

    /// Checks that a URL is one of a PostgreSQL database. The error does not contain its secrets.
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        parse_url(url).map(drop)
    }
}

/// The settings of each connection. They are sent as statements after the connection is open: PgBouncer refuses a
/// client that sends settings that it does not know when it connects.
fn settings(limit: Duration) -> String {
    let milliseconds = limit.as_millis();
    // The server enforces the limit too: a statement that no caller waits for must not hold locks. The statements
    // rely on this isolation level: with a stricter default of the database, conflicts would be errors.
    format!(
        "SET statement_timeout = {milliseconds}; SET lock_timeout = {milliseconds}; \
         SET idle_in_transaction_session_timeout = {milliseconds}; \
         SET default_transaction_isolation = 'read committed'"
    )
}

fn parse_url(url: &str) -> Result<PgConnectOptions, StoreError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(StoreError::Data(
            "the URL does not start with postgres://".to_owned(),
        ));
    }
    store_url::check(url, &PARAMETERS)?;
    // sqlx's message is not used: it may quote the URL and so its password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Data("the URL cannot be read as one of PostgreSQL".to_owned()))?;
    let name = options.get_application_name().unwrap_or("berth").to_owned();
    Ok(options
        .application_name(&name)
        .extra_float_digits(None)
        .disable_statement_logging())
}
