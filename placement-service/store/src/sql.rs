//! The store in a SQL database: a pool of connections, and the traits of a store in statements that SQLite and
//! PostgreSQL share. In what the two differ is in [`dialect`]; how they are opened, in their own modules.

mod accounts;
mod affinity;
pub(crate) mod backend;
pub(crate) mod connection;
mod coordination;
pub(crate) mod dialect;
mod events;
pub(crate) mod migrations;
mod rows;
mod sessions;
pub(crate) mod statement;

use crate::StoreError;
use connection::{Replacement, SqlConnection};
use dialect::Dialect;
use sqlx::{Database, Pool};
use statement::Statement;
use std::time::Duration;

/// Sessions, accounts, events, affinity records and coordination in one SQL database.
pub struct SqlStore<DB: Database> {
    pool: Pool<DB>,
    replacement: Replacement,
    /// How long a caller waits for a new connection before it also takes one that becomes idle.
    patience: Duration,
}

impl<DB: Database> SqlStore<DB> {
    /// `limit` is the time that the pool allows a caller to wait for a connection.
    pub(crate) fn new(pool: Pool<DB>, replacement: Replacement, limit: Duration) -> Self {
        Self {
            pool,
            replacement,
            patience: limit / 8,
        }
    }

    /// Closes every connection. Later calls fail as if the store were down.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl<D: Dialect> SqlStore<D> {
    async fn acquire(&self) -> Result<SqlConnection<D>, StoreError> {
        SqlConnection::acquire(&self.pool, self.patience, &self.replacement).await
    }

    /// A connection with an open transaction.
    async fn begin(&self) -> Result<SqlConnection<D>, StoreError> {
        let mut connection = self.acquire().await?;
        connection.begin().await?;
        Ok(connection)
    }

    /// Runs one statement; returns the number of rows that it changed.
    async fn execute(&self, statement: Statement<D>) -> Result<u64, StoreError> {
        self.acquire().await?.execute(statement).await
    }

    /// Runs one statement; returns its rows.
    async fn fetch(&self, statement: Statement<D>) -> Result<Vec<D::Row>, StoreError> {
        self.acquire().await?.fetch(statement).await
    }
}
