//! Reads the rows of sessions and accounts, whose columns have the same names in every dialect.

use super::dialect::Dialect;
use super::statement::Read;
use crate::row::{RawProvider, RawSession, from_json, to_u64};
use crate::{AccountRow, Attempts, SessionRow, StoreError};

/// Listed by name: with `*`, a column that a newer binary adds would break prepared statements.
pub(super) const SESSION_COLUMNS: &str = "id_hash, session_ref, payload_version, account, roles, created_at, \
     last_seen_at, idle_timeout, absolute_expiry, ancestors, runtime, state, claims, provider, \
     provider_subject, provider_session, provider_hint, display_name";

/// As [`SESSION_COLUMNS`].
pub(super) const ACCOUNT_COLUMNS: &str =
    "name, password_hash, roles, created_at, locked, failures, locked_until, devices";

fn text<D: Dialect>(row: &D::Row, column: &'static str) -> Result<String, sqlx::Error> {
    D::read(row, column)
}

fn number<D: Dialect>(row: &D::Row, column: &'static str) -> Result<i64, sqlx::Error> {
    D::read(row, column)
}

fn bytes<D: Dialect>(row: &D::Row, column: &'static str) -> Result<Vec<u8>, sqlx::Error> {
    D::read(row, column)
}

pub(super) fn session_from<D: Dialect>(row: &D::Row) -> Result<SessionRow, StoreError> {
    let provider: Option<String> = D::read(row, "provider")?;
    let provider = match provider {
        None => None,
        Some(provider) => Some(RawProvider {
            provider,
            subject: D::read(row, "provider_subject")?,
            session: D::read(row, "provider_session")?,
            hint: D::read(row, "provider_hint")?,
        }),
    };
    let raw = RawSession {
        id_hash: &bytes::<D>(row, "id_hash")?,
        session_ref: &text::<D>(row, "session_ref")?,
        payload_version: number::<D>(row, "payload_version")?,
        account: &text::<D>(row, "account")?,
        display_name: &text::<D>(row, "display_name")?,
        roles: &text::<D>(row, "roles")?,
        created_at: number::<D>(row, "created_at")?,
        last_seen_at: number::<D>(row, "last_seen_at")?,
        idle_timeout: number::<D>(row, "idle_timeout")?,
        absolute_expiry: number::<D>(row, "absolute_expiry")?,
        ancestors: &bytes::<D>(row, "ancestors")?,
        runtime: &text::<D>(row, "runtime")?,
        state: &text::<D>(row, "state")?,
        claims: &text::<D>(row, "claims")?,
        provider,
    };
    raw.read()
}

pub(super) fn account_from<D: Dialect>(row: &D::Row) -> Result<AccountRow, StoreError> {
    let failures = number::<D>(row, "failures")?;
    Ok(AccountRow {
        name: D::read(row, "name")?,
        password_hash: D::read(row, "password_hash")?,
        roles: from_json("roles", &text::<D>(row, "roles")?)?,
        created_at_ms: to_u64(number::<D>(row, "created_at")?)?,
        locked: D::read(row, "locked")?,
        attempts: Attempts {
            failures: u32::try_from(failures).map_err(|e| StoreError::malformed("failures", e))?,
            locked_until_ms: to_u64(number::<D>(row, "locked_until")?)?,
        },
        devices: D::read(row, "devices")?,
    })
}

/// Reads one column of the first row; `None` if there is no row.
pub(super) fn read_first<D: Dialect + Read<T>, T>(
    rows: &[D::Row],
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let first = rows.first().map(|row| D::read(row, column));
    Ok(first.transpose()?)
}
