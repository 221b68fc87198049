//! The stored form of a session that all stores have in common, and how it is read back. Invalid data is an
//! error, never a guess; unknown fields of a newer binary are left alone.

pub(crate) mod affinity;

use crate::session_id::IdHash;
use crate::{PAYLOAD_VERSION, ProviderLink, SessionQuery, SessionRow, SessionState, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The stored fields of a session.
pub(crate) struct RawSession<'a> {
    pub(crate) id_hash: &'a [u8],
    pub(crate) session_ref: &'a str,
    pub(crate) payload_version: i64,
    pub(crate) account: &'a str,
    pub(crate) display_name: &'a str,
    pub(crate) roles: &'a str,
    pub(crate) created_at: i64,
    pub(crate) last_seen_at: i64,
    pub(crate) idle_timeout: i64,
    pub(crate) absolute_expiry: i64,
    pub(crate) ancestors: &'a [u8],
    pub(crate) runtime: &'a str,
    pub(crate) state: &'a str,
    pub(crate) claims: &'a str,
    pub(crate) provider: Option<RawProvider>,
}

/// The stored identifiers of a session at its OpenID provider.
pub(crate) struct RawProvider {
    pub(crate) provider: String,
    pub(crate) subject: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) hint: Option<String>,
}

impl RawSession<'_> {
    /// Reads the fields. A payload version newer than this binary's is an error.
    pub(crate) fn read(self) -> Result<SessionRow, StoreError> {
        let version = self.payload_version;
        if version > PAYLOAD_VERSION {
            return Err(StoreError::Data(format!(
                "a session has payload version {version}, newer than this binary"
            )));
        }
        if self.state != SessionState::Active.as_str() {
            let state: String = self.state.chars().take(40).collect();
            return Err(StoreError::Data(format!(
                "a session has the state {state:?}"
            )));
        }
        let time = |name: &str, value: i64| {
            u64::try_from(value).map_err(|e| StoreError::malformed(name, e))
        };
        let provider = self.provider.map(|kept| {
            Ok::<_, StoreError>(ProviderLink {
                provider: kept.provider,
                subject: kept
                    .subject
                    .ok_or_else(|| StoreError::malformed("provider_subject", "it is not there"))?,
                session: kept.session,
                logout_hint: kept.hint,
            })
        });
        Ok(SessionRow {
            id_hash: parse_hash("id_hash", self.id_hash)?,
            session_ref: self.session_ref.to_owned(),
            payload_version: version,
            account: self.account.to_owned(),
            display_name: self.display_name.to_owned(),
            roles: from_json("roles", self.roles)?,
            created_at_ms: time("created_at", self.created_at)?,
            last_seen_at_ms: time("last_seen_at", self.last_seen_at)?,
            idle_timeout_ms: time("idle_timeout", self.idle_timeout)?,
            absolute_expiry_ms: time("absolute_expiry", self.absolute_expiry)?,
            ancestors: parse_hashes(self.ancestors)?,
            runtime: self.runtime.to_owned(),
            state: SessionState::Active,
            claims: from_json("claims", self.claims)?,
            provider: provider.transpose()?,
        })
    }
}

/// Reads the rows of a list. An unreadable row is an error, except in the lists that the cleanup tasks work
/// through: there, one bad row would block all others forever, so it is skipped.
pub(crate) fn read_rows(
    select: &SessionQuery,
    rows: impl Iterator<Item = Result<SessionRow, StoreError>>,
) -> Result<Vec<SessionRow>, StoreError> {
    let lenient = matches!(select, SessionQuery::ExpiredAt(_) | SessionQuery::Orphans);
    let mut read = Vec::new();
    for row in rows {
        match row {
            Ok(row) => read.push(row),
            Err(error @ StoreError::Data(_)) if lenient => {
                tracing::warn!(%error, "skipping an unreadable session: a newer binary or an operator must handle it");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Data(e.to_string()))
}

pub(crate) fn from_json<T: DeserializeOwned>(field: &str, text: &str) -> Result<T, StoreError> {
    // serde's message is not used: it would quote the stored data.
    serde_json::from_str(text).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        StoreError::malformed(field, format!("not the JSON expected, at {line}:{column}"))
    })
}

pub(crate) fn to_i64(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|e| StoreError::Data(e.to_string()))
}

pub(crate) fn to_u64(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|e| StoreError::malformed("a number", e))
}

fn parse_hash(field: &str, bytes: &[u8]) -> Result<IdHash, StoreError> {
    bytes
        .try_into()
        .map(IdHash)
        .map_err(|e| StoreError::malformed(field, e))
}

/// Concatenates hashes, 32 bytes each.
pub(crate) fn concat_hashes(hashes: &[IdHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

fn parse_hashes(bytes: &[u8]) -> Result<Vec<IdHash>, StoreError> {
    let chunks = bytes.chunks(32);
    chunks.map(|chunk| parse_hash("ancestors", chunk)).collect()
}
