//! The statements of affinity records. A record is live while it is not released and `expires_at` is in the future of
//! the database's clock.

use super::rows::AFFINITY_COLUMNS;
use crate::row::affinity::{RawTarget, to_ms};
use crate::row::to_i64;
use crate::sql::dialect::Dialect;
use crate::sql::statement::Statement;
use crate::{
    AffinityClaim, AffinityId, AffinityKind, AffinityPage, AffinityTarget, MAX_CLAIM_TTL, OwnerId,
    StoreError, TabAffinity,
};
use std::time::Duration;

/// The columns that every state but `held` leaves empty.
const NO_ENGINE: &str =
    "engine = NULL, api = NULL, stream = NULL, incarnation = NULL, headers = NULL";

/// A claim whose deadline is so far away that a clock must have been ahead.
fn is_too_long<D: Dialect>() -> String {
    let (now, max) = (D::NOW_MS, to_ms(MAX_CLAIM_TTL));
    format!("(affinity.state = 'preparing' AND affinity.expires_at > {now} + {max})")
}

/// Selects a live record.
pub(super) fn find_live<D: Dialect>(id: &AffinityId) -> Statement<D> {
    let now = D::NOW_MS;
    let select = format!(
        "SELECT {AFFINITY_COLUMNS} FROM affinity \
         WHERE id = $1 AND state <> 'released' AND expires_at > {now}"
    );
    Statement::composed(select).bind(id.0.as_slice())
}

/// Selects a record that cannot be claimed, with the time of the database.
pub(super) fn find_claimed<D: Dialect>(id: &AffinityId) -> Statement<D> {
    let (now, is_too_long) = (D::NOW_MS, is_too_long::<D>());
    let select = format!(
        "SELECT {AFFINITY_COLUMNS}, {now} AS now FROM affinity \
         WHERE id = $1 AND state <> 'released' AND expires_at > {now} AND NOT {is_too_long}"
    );
    Statement::composed(select).bind(id.0.as_slice())
}

/// Selects a record in any state, with the time of the database.
pub(super) fn find<D: Dialect>(id: &AffinityId) -> Statement<D> {
    let now = D::NOW_MS;
    let select = format!("SELECT {AFFINITY_COLUMNS}, {now} AS now FROM affinity WHERE id = $1");
    Statement::composed(select).bind(id.0.as_slice())
}

/// Counts the live records of keys of an owner, without the one to claim.
pub(super) fn count_others<D: Dialect>(owner: &OwnerId, id: &AffinityId) -> Statement<D> {
    let now = D::NOW_MS;
    Statement::composed(format!(
        "SELECT count(*) AS count FROM affinity WHERE owner = $1 AND kind = 'key' AND id <> $2 \
         AND state <> 'released' AND expires_at > {now}"
    ))
    .bind(owner.0.as_slice())
    .bind(id.0.as_slice())
}

/// Inserts a claim, or takes over a record that is not live. Returns the epoch; no row if the record is live.
pub(super) fn claim<D: Dialect>(claim: &AffinityClaim<'_>) -> Statement<D> {
    let (now, is_too_long) = (D::NOW_MS, is_too_long::<D>());
    Statement::composed(format!(
        "INSERT INTO affinity (id, kind, owner, pool, epoch, state, claimer, created_at, \
         last_active_at, idle_timeout, expires_at) \
         VALUES ($1, 'key', $2, $3, {now}, 'preparing', $4, {now}, {now}, 0, {now} + $5) \
         ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, owner = excluded.owner, \
         pool = excluded.pool, epoch = affinity.epoch + 1, state = excluded.state, \
         claimer = excluded.claimer, reason = NULL, {NO_ENGINE}, \
         created_at = excluded.created_at, last_active_at = excluded.last_active_at, \
         idle_timeout = excluded.idle_timeout, expires_at = excluded.expires_at \
         WHERE affinity.state = 'released' OR affinity.expires_at <= {now} OR {is_too_long} \
         RETURNING epoch"
    ))
    .bind(claim.id.0.as_slice())
    .bind(claim.owner.as_ref().map(|owner| owner.0.as_slice()))
    .bind(claim.pool)
    .bind(claim.claimer)
    .bind(to_ms(claim.ttl.min(MAX_CLAIM_TTL)))
}

pub(super) fn hold<D: Dialect>(
    id: &AffinityId,
    epoch: u64,
    claimer: &str,
    target: &AffinityTarget,
    idle: Duration,
) -> Result<Statement<D>, StoreError> {
    let (now, target) = (D::NOW_MS, RawTarget::new(target)?);
    Ok(Statement::composed(format!(
        "UPDATE affinity SET state = 'held', claimer = NULL, engine = $4, api = $5, stream = $6, \
         incarnation = $7, headers = $8, last_active_at = {now}, idle_timeout = $9, \
         expires_at = {now} + $9 \
         WHERE id = $1 AND epoch = $2 AND claimer = $3 AND state = 'preparing' AND expires_at > {now}"
    ))
    .bind(id.0.as_slice())
    .bind(to_i64(epoch)?)
    .bind(claimer)
    .bind(target.engine.as_deref())
    .bind(target.api.as_deref())
    .bind(target.stream.as_deref())
    .bind(target.incarnation.as_deref())
    .bind(target.headers.as_deref())
    .bind(to_ms(idle)))
}

pub(super) fn replace<D: Dialect>(
    id: &AffinityId,
    epoch: u64,
    claimer: &str,
    ttl: Duration,
) -> Result<Statement<D>, StoreError> {
    let now = D::NOW_MS;
    Ok(Statement::composed(format!(
        "UPDATE affinity SET state = 'preparing', epoch = epoch + 1, claimer = $3, {NO_ENGINE}, \
         expires_at = {now} + $4 \
         WHERE id = $1 AND epoch = $2 AND state = 'held' AND expires_at > {now} RETURNING epoch"
    ))
    .bind(id.0.as_slice())
    .bind(to_i64(epoch)?)
    .bind(claimer)
    .bind(to_ms(ttl.min(MAX_CLAIM_TTL))))
}

pub(super) fn release<D: Dialect>(
    id: &AffinityId,
    epoch: u64,
    reason: &str,
) -> Result<Statement<D>, StoreError> {
    Ok(Statement::composed(format!(
        "UPDATE affinity SET state = 'released', reason = $3, claimer = NULL, {NO_ENGINE} \
         WHERE id = $1 AND epoch = $2 AND state <> 'released'"
    ))
    .bind(id.0.as_slice())
    .bind(to_i64(epoch)?)
    .bind(reason))
}

pub(super) fn list<D: Dialect>(page: &AffinityPage<'_>, limit: u32) -> Statement<D> {
    let of_engine = if page.engine.is_some() {
        "engine = $3"
    } else {
        "engine >= $3"
    };
    // Every engine and id comes after the empty ones.
    let (engine, id) = match &page.after {
        Some((engine, id)) => (*engine, id.0.as_slice()),
        None => ("", [].as_slice()),
    };
    Statement::composed(format!(
        "SELECT {AFFINITY_COLUMNS} FROM affinity \
         WHERE kind = $1 AND pool = $2 AND {of_engine} AND engine IS NOT NULL \
         AND (engine, id) > ($4, $5) ORDER BY engine, id LIMIT $6"
    ))
    .bind(page.kind.as_str())
    .bind(page.pool)
    .bind(page.engine.unwrap_or_default())
    .bind(engine)
    .bind(id)
    .bind(i64::from(limit))
}

/// Selects the live records of an owner.
pub(super) fn of_owner<D: Dialect>(
    kind: AffinityKind,
    owner: &OwnerId,
    limit: u32,
) -> Statement<D> {
    let now = D::NOW_MS;
    Statement::composed(format!(
        "SELECT {AFFINITY_COLUMNS} FROM affinity \
         WHERE owner = $1 AND kind = $2 AND state <> 'released' AND expires_at > {now} \
         ORDER BY created_at, id LIMIT $3"
    ))
    .bind(owner.0.as_slice())
    .bind(kind.as_str())
    .bind(i64::from(limit))
}

pub(super) fn remove_of_owner<D: Dialect>(kind: AffinityKind, owner: &OwnerId) -> Statement<D> {
    let for_update = D::FOR_UPDATE;
    Statement::composed(format!(
        "WITH mine AS (SELECT id FROM affinity WHERE owner = $1 AND kind = $2 \
         ORDER BY id{for_update}) DELETE FROM affinity WHERE id IN (SELECT id FROM mine)"
    ))
    .bind(owner.0.as_slice())
    .bind(kind.as_str())
}

pub(super) fn sweep<D: Dialect>(limit: u32) -> Statement<D> {
    let (now, for_update, skip_locked) = (D::NOW_MS, D::FOR_UPDATE, D::SKIP_LOCKED);
    Statement::composed(format!(
        "WITH expired AS (SELECT id FROM affinity WHERE expires_at <= {now} \
         ORDER BY expires_at LIMIT $1{for_update}{skip_locked}) \
         DELETE FROM affinity WHERE id IN (SELECT id FROM expired)"
    ))
    .bind(i64::from(limit))
}

/// Writes the engine of a tab unless a later activity of the tab is stored.
pub(super) fn put_tab<D: Dialect>(tab: &TabAffinity) -> Result<Statement<D>, StoreError> {
    let (now, target) = (D::NOW_MS, RawTarget::new(&tab.target)?);
    Ok(Statement::composed(format!(
        "INSERT INTO affinity (id, kind, owner, pool, epoch, state, engine, api, stream, \
         incarnation, headers, created_at, last_active_at, idle_timeout, expires_at) \
         VALUES ($1, 'tab', $2, $3, {now}, 'held', $4, $5, $6, $7, $8, {now}, {now} - $9, $10, \
         {now} - $9 + $10) \
         ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, epoch = affinity.epoch + 1, \
         state = excluded.state, reason = NULL, engine = excluded.engine, api = excluded.api, stream = excluded.stream, \
         incarnation = excluded.incarnation, headers = excluded.headers, \
         last_active_at = excluded.last_active_at, idle_timeout = excluded.idle_timeout, \
         expires_at = excluded.expires_at \
         WHERE affinity.kind = 'tab' AND affinity.last_active_at <= excluded.last_active_at"
    ))
    .bind(tab.id.0.as_slice())
    .bind(tab.owner.0.as_slice())
    .bind(tab.pool.as_str())
    .bind(target.engine.as_deref())
    .bind(target.api.as_deref())
    .bind(target.stream.as_deref())
    .bind(target.incarnation.as_deref())
    .bind(target.headers.as_deref())
    .bind(to_ms(tab.idle_for))
    .bind(to_ms(tab.idle)))
}
