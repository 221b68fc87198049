//! Affinity records in a SQL database. A claim is a transaction; every other step compares and sets in one statement.

mod rows;
mod statements;

use super::SqlStore;
use super::dialect::Dialect;
use super::rows::read_first;
use crate::row::affinity::to_ms;
use crate::row::to_u64;
use crate::{
    AffinityClaim, AffinityId, AffinityKind, AffinityPage, AffinityRecord, AffinityState,
    AffinityStore, AffinityTarget, ClaimResult, OwnerId, StoreError, TabAffinity,
};
use async_trait::async_trait;
use rows::affinity_from;
use std::time::Duration;

#[async_trait]
impl<D: Dialect> AffinityStore for SqlStore<D> {
    async fn find_affinity(&self, id: &AffinityId) -> Result<Option<AffinityRecord>, StoreError> {
        let rows = self.fetch(statements::find_live::<D>(id)).await?;
        rows.first().map(affinity_from::<D>).transpose()
    }

    async fn claim_affinity(&self, claim: &AffinityClaim<'_>) -> Result<ClaimResult, StoreError> {
        // Most keys have an engine. Reading first spares them the transaction, and the lock of the row.
        let rows = self.fetch(statements::find_claimed(&claim.id)).await?;
        if let Some(found) = claimed_before::<D>(&rows)? {
            return Ok(found);
        }
        let mut transaction = self.begin().await?;
        let limit = claim.owner.zip(claim.max_per_owner);
        if let Some((owner, max)) = limit {
            D::lock_name(&mut transaction, &owner_lock(&owner)).await?;
            let count = statements::count_others(&owner, &claim.id);
            let count = read_first::<D, i64>(&transaction.fetch(count).await?, "count")?;
            if to_u64(count.unwrap_or_default())? >= u64::from(max) {
                // The record may be claimed already: the limit does not concern it then.
                let rows = transaction
                    .fetch(statements::find_claimed(&claim.id))
                    .await?;
                transaction.rollback().await?;
                return Ok(claimed_before::<D>(&rows)?.unwrap_or(ClaimResult::LimitReached));
            }
        }
        let rows = transaction.fetch(statements::claim(claim)).await?;
        if let Some(epoch) = read_first::<D, i64>(&rows, "epoch")? {
            transaction.commit().await?;
            return Ok(ClaimResult::Claimed {
                epoch: to_u64(epoch)?,
            });
        }
        // Another caller was first. The statement has locked its row, so that it cannot change meanwhile.
        let rows = transaction.fetch(statements::find(&claim.id)).await?;
        transaction.rollback().await?;
        let unclaimed = || StoreError::Down("the record has just been removed".to_owned());
        claimed_before::<D>(&rows)?.ok_or_else(unclaimed)
    }

    async fn hold_affinity(
        &self,
        id: &AffinityId,
        epoch: u64,
        claimer: &str,
        target: &AffinityTarget,
        idle: Duration,
    ) -> Result<bool, StoreError> {
        let hold = statements::hold(id, epoch, claimer, target, idle)?;
        Ok(self.execute(hold).await? > 0)
    }

    async fn replace_affinity(
        &self,
        id: &AffinityId,
        epoch: u64,
        claimer: &str,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let replace = statements::replace(id, epoch, claimer, ttl)?;
        let epoch = read_first::<D, i64>(&self.fetch(replace).await?, "epoch")?;
        epoch.map(to_u64).transpose()
    }

    async fn release_affinity(
        &self,
        id: &AffinityId,
        epoch: u64,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let release = statements::release(id, epoch, reason)?;
        Ok(self.execute(release).await? > 0)
    }

    async fn touch_affinity(&self, active: &[(AffinityId, Duration)]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let active: Vec<_> = active.iter().map(|(id, ago)| (*id, to_ms(*ago))).collect();
        D::touch_affinity(&mut transaction, &active).await?;
        transaction.commit().await
    }

    async fn list_affinity(
        &self,
        page: &AffinityPage<'_>,
        limit: u32,
    ) -> Result<Vec<AffinityRecord>, StoreError> {
        let rows = self.fetch(statements::list(page, limit)).await?;
        rows.iter().map(affinity_from::<D>).collect()
    }

    async fn affinity_of_owner(
        &self,
        kind: AffinityKind,
        owner: &OwnerId,
        limit: u32,
    ) -> Result<Vec<AffinityRecord>, StoreError> {
        let rows = self.fetch(statements::of_owner(kind, owner, limit)).await?;
        rows.iter().map(affinity_from::<D>).collect()
    }

    async fn remove_affinity_of_owner(
        &self,
        kind: AffinityKind,
        owner: &OwnerId,
    ) -> Result<u64, StoreError> {
        self.execute(statements::remove_of_owner(kind, owner)).await
    }

    async fn sweep_affinity(&self, limit: u32) -> Result<u64, StoreError> {
        self.execute(statements::sweep(limit)).await
    }

    async fn put_tab_affinity(&self, tabs: &[TabAffinity]) -> Result<(), StoreError> {
        // In the order of their ids, in which the other transactions lock rows too.
        let mut tabs: Vec<_> = tabs.iter().collect();
        tabs.sort_by_key(|tab| tab.id);
        let mut transaction = self.begin().await?;
        for tab in tabs {
            transaction.execute(statements::put_tab(tab)?).await?;
        }
        transaction.commit().await
    }
}

/// What a claim returns if its record is preparing or held by another.
fn claimed_before<D: Dialect>(rows: &[D::Row]) -> Result<Option<ClaimResult>, StoreError> {
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let record = affinity_from::<D>(row)?;
    Ok(match record.state {
        AffinityState::Held(_) => Some(ClaimResult::Held(Box::new(record))),
        AffinityState::Preparing { .. } => {
            let now_ms: i64 = D::read(row, "now")?;
            let remaining_ms = record.expires_at_ms.saturating_sub(to_u64(now_ms)?);
            Some(ClaimResult::Preparing {
                remaining: Duration::from_millis(remaining_ms),
            })
        }
        AffinityState::Released { .. } => None,
    })
}

/// The name of the lock under which the records of an owner are counted.
fn owner_lock(owner: &OwnerId) -> String {
    let digits = owner.0.iter().map(|byte| format!("{byte:02x}"));
    format!("affinity-owner:{}", digits.collect::<String>())
}
