//! How values look in the columns of SQL stores, and how they are read back: what does not fit is an
//! error, never a guess.

use crate::session_id::IdHash;
use crate::{PAYLOAD_VERSION, SessionState, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self(error.to_string())
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError(e.to_string()))
}

pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| malformed(&e))
}

pub(crate) fn to_i64(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|e| StoreError(e.to_string()))
}

pub(crate) fn to_u64(value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|e| malformed(&e))
}

pub(crate) fn to_hash(bytes: &[u8]) -> Result<IdHash, StoreError> {
    bytes.try_into().map(IdHash).map_err(|e| malformed(&e))
}

/// Hashes one after the other, 32 bytes each.
pub(crate) fn to_bytes(hashes: &[IdHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

pub(crate) fn to_hashes(bytes: &[u8]) -> Result<Vec<IdHash>, StoreError> {
    bytes.chunks(32).map(to_hash).collect()
}

/// Refuses what a newer binary wrote in a way that this one does not know (S2).
pub(crate) fn readable(payload_version: i64, state: &str) -> Result<SessionState, StoreError> {
    if payload_version > PAYLOAD_VERSION {
        return Err(StoreError(format!(
            "a session has payload version {payload_version}, newer than this binary"
        )));
    }
    if state != SessionState::Active.as_str() {
        return Err(StoreError(format!("a session has the state {state:?}")));
    }
    Ok(SessionState::Active)
}

fn malformed(error: &dyn std::error::Error) -> StoreError {
    StoreError(format!("a row is malformed: {error}"))
}
