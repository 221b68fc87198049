//! Reads the rows of affinity records, whose columns have the same names in every dialect.

use crate::row::affinity::{RawAffinity, RawTarget};
use crate::row::to_u64;
use crate::sql::dialect::Dialect;
use crate::{AffinityRecord, StoreError};

/// Listed by name: with `*`, a column that a newer binary adds would break prepared statements.
pub(super) const AFFINITY_COLUMNS: &str = "id, kind, owner, pool, epoch, state, claimer, reason, \
     engine, api, stream, incarnation, headers, created_at, last_active_at, expires_at";

fn number<D: Dialect>(row: &D::Row, column: &'static str) -> Result<u64, StoreError> {
    to_u64(D::read(row, column)?)
}

pub(super) fn affinity_from<D: Dialect>(row: &D::Row) -> Result<AffinityRecord, StoreError> {
    let id: Vec<u8> = D::read(row, "id")?;
    let owner: Option<Vec<u8>> = D::read(row, "owner")?;
    let (kind, state): (String, String) = (D::read(row, "kind")?, D::read(row, "state")?);
    let raw = RawAffinity {
        id: &id,
        kind: &kind,
        owner: owner.as_deref(),
        pool: D::read(row, "pool")?,
        epoch: number::<D>(row, "epoch")?,
        state: &state,
        claimer: D::read(row, "claimer")?,
        reason: D::read(row, "reason")?,
        target: RawTarget {
            engine: D::read(row, "engine")?,
            api: D::read(row, "api")?,
            stream: D::read(row, "stream")?,
            incarnation: D::read(row, "incarnation")?,
            headers: D::read(row, "headers")?,
        },
        created_at: number::<D>(row, "created_at")?,
        last_active_at: number::<D>(row, "last_active_at")?,
        expires_at: number::<D>(row, "expires_at")?,
    };
    raw.read()
}
