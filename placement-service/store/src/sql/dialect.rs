//! In what SQLite and PostgreSQL differ. Everything else is written once for both, in the files beside this one.

use super::connection::SqlConnection;
use super::statement::{SqlQuery, SqlTypes};
use crate::session_id::IdHash;
use crate::{Event, SessionRemoval, StoreError};
use sqlx::Error;
use std::collections::HashSet;

/// A SQL database that can hold Berth's tables.
pub trait Dialect: SqlTypes {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;

    /// A scalar query for the newest sequence number that was ever assigned to an event.
    const NEWEST_EVENT: &'static str;

    /// The clock of the store, in milliseconds since the Unix epoch.
    const NOW_MS: &'static str;

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

    /// Fails if the database is damaged. Called only after a fault of the backend.
    fn check_integrity(
        _connection: &mut SqlConnection<Self>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// Appends events within a transaction. Must be its last step.
    fn append(
        connection: &mut SqlConnection<Self>,
        events: &[Event],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Until the commit, no other transaction counts or adds sessions of this account.
    fn lock_account(
        connection: &mut SqlConnection<Self>,
        account: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Moves the last activity of sessions forward, never backwards.
    fn touch(
        connection: &mut SqlConnection<Self>,
        seen: &[(IdHash, u64)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes the sessions that exist and, where required, have expired. Returns their ids.
    fn delete(
        connection: &mut SqlConnection<Self>,
        removals: &[SessionRemoval],
    ) -> impl Future<Output = Result<HashSet<IdHash>, StoreError>> + Send;
}
