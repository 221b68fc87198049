//! In what SQLite and PostgreSQL differ. Everything else is written once for both, in the files beside this one.

use super::backend::Backend;
use super::connection::SqlConnection;
use crate::session_id::IdHash;
use crate::{Event, SessionRemoval, StoreError};
use std::collections::HashSet;

/// The statements that are not the same in every database.
pub trait Dialect: Backend {
    /// A scalar query for the newest sequence number that was ever assigned to an event.
    const NEWEST_EVENT: &'static str;

    /// The clock of the store, in milliseconds since the Unix epoch.
    const NOW_MS: &'static str;

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
