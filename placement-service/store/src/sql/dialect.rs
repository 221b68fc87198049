//! In what SQLite and PostgreSQL differ. Everything else is written once for both, in the files beside this one.

use super::backend::Backend;
use super::connection::SqlConnection;
use crate::session_id::IdHash;
use crate::{AffinityId, Event, SessionRemoval, StoreError};
use std::collections::HashSet;

/// The statements that are not the same in every database.
pub trait Dialect: Backend {
    /// A scalar query for the newest sequence number that was ever assigned to an event.
    const NEWEST_EVENT: &'static str;

    /// The clock of the store, in milliseconds since the Unix epoch.
    const NOW_MS: &'static str;

    /// Ends a query whose rows are changed next: locks them, and checks its conditions again once they are locked.
    const FOR_UPDATE: &'static str;

    /// After [`Self::FOR_UPDATE`]: leaves out rows that another transaction has locked.
    const SKIP_LOCKED: &'static str;

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

    /// Until the commit, no other transaction gets past its own call with this name, such as an account's: what is
    /// counted under the name stays true.
    fn lock_name(
        connection: &mut SqlConnection<Self>,
        name: &str,
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

    /// Moves the last activity of held affinity records forward to so many milliseconds ago, never backwards.
    fn touch_affinity(
        connection: &mut SqlConnection<Self>,
        active: &[(AffinityId, i64)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
