//! How statements reach a SQL database, and what its errors mean for the connection. Knows no table.

use super::statement::{SqlQuery, SqlTypes};
use sqlx::Error;

/// A SQL database that can hold Berth's tables.
pub trait Backend: SqlTypes {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;

    /// Runs a statement; returns the number of rows that it changed.
    fn execute(
        connection: &mut Self::Connection,
        query: SqlQuery<Self>,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Runs a statement; returns its rows.
    fn fetch(
        connection: &mut Self::Connection,
        query: SqlQuery<Self>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, Error>> + Send;

    /// Runs a command that is not prepared, such as `COMMIT`.
    fn command(
        connection: &mut Self::Connection,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Ends whatever transaction may be open, and returns only after the database has said so. An error means that
    /// the state of the connection is not known.
    fn end_transaction(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Whether the error concerns the server or file behind the connection rather than the statement, although the
    /// connection still answers: a server that has become read-only, or a damaged file.
    fn is_backend_fault(error: &Error) -> bool;
}
