//! How statements reach SQLite, and which of its errors concern the file.

use crate::sql::backend::Backend;
use crate::sql::statement::SqlQuery;
use sqlx::{Error, Sqlite, SqliteConnection, raw_sql, sqlite::SqliteRow};

/// Result codes of SQLite that concern the file rather than the statement: `SQLITE_READONLY`, `SQLITE_IOERR`,
/// `SQLITE_CORRUPT`, `SQLITE_CANTOPEN` and `SQLITE_NOTADB`.
const FILE_FAULTS: [i32; 5] = [8, 10, 11, 14, 26];
/// The lowest byte of an extended result code is the code.
const CODE_MASK: i32 = 0xff;

impl Backend for Sqlite {
    /// Locks the file from the start, so that the transaction cannot fail half-way because of a concurrent write.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    async fn execute(
        connection: &mut SqliteConnection,
        query: SqlQuery<Self>,
    ) -> Result<u64, Error> {
        Ok(query.execute(connection).await?.rows_affected())
    }

    async fn fetch(
        connection: &mut SqliteConnection,
        query: SqlQuery<Self>,
    ) -> Result<Vec<SqliteRow>, Error> {
        query.fetch_all(connection).await
    }

    async fn command(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
        raw_sql(sql).execute(connection).await.map(drop)
    }

    async fn end_transaction(connection: &mut SqliteConnection) -> Result<(), Error> {
        // An error of SQLite, such as a full disk, may already have ended the transaction. Then there is nothing to
        // roll back, which is an error, too. A new transaction can only begin when no other is open.
        let _ = Self::command(connection, "ROLLBACK").await;
        Self::command(connection, "BEGIN").await?;
        Self::command(connection, "ROLLBACK").await
    }

    fn is_backend_fault(error: &Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        let code = code.and_then(|code| code.parse::<i32>().ok());
        code.is_some_and(|code| FILE_FAULTS.contains(&(code & CODE_MASK)))
    }
}
