//! Affinity records as stored, and the trait of their store: which engine serves all requests of one key, for every
//! replica and across restarts. The store sees keyed hashes only; what a key is and which engine suits it are decided
//! by the service.
//!
//! ```text
//!                 claim                      hold
//!   (absent) ---------------> preparing -------------> held
//!                              ^  |  ^                 | |
//!        claim, after the      |  |  |     replace     | |
//!        deadline: epoch + 1   +--+  +--- epoch + 1 ---+ |
//!                                 |                      |
//!                         release |                      | release
//!                                 +------> released <----+
//! ```
//!
//! A claim on a released or expired record begins again at `preparing`, with a greater epoch. Each step is one
//! compare-and-set on id and epoch, so a step of a replica that was overtaken changes nothing. Every time is of the
//! store's clock: callers pass durations, so their clocks need not agree.

mod record;
mod requests;

pub use record::{
    AffinityId, AffinityKind, AffinityRecord, AffinityState, AffinityTarget, OwnerId,
};
pub use requests::{AffinityClaim, AffinityPage, ClaimResult, TabAffinity};

use crate::StoreError;
use async_trait::async_trait;
use std::time::Duration;

/// The longest time that a claim lasts. A deadline further away is of a clock that was ahead: it counts as passed.
pub const MAX_CLAIM_TTL: Duration = Duration::from_secs(120);

/// Stores affinity records. A record is live until it is released or expires; a record that is not live counts as
/// absent, except that its epoch goes on growing.
#[async_trait]
pub trait AffinityStore: Send + Sync + 'static {
    /// Finds a live record.
    async fn find_affinity(&self, id: &AffinityId) -> Result<Option<AffinityRecord>, StoreError>;

    /// Claims the right to prepare an engine for a key that has none. Exactly one of concurrent callers gets it. With
    /// a limit, the owner has fewer other live records of keys; the limit holds exactly, over all replicas.
    async fn claim_affinity(&self, claim: &AffinityClaim<'_>) -> Result<ClaimResult, StoreError>;

    /// Binds the key to the engine that the claimer has prepared, until `idle` has passed without activity. `false`,
    /// and no change, if the claim has reached its deadline or was overtaken.
    async fn hold_affinity(
        &self,
        id: &AffinityId,
        epoch: u64,
        claimer: &str,
        target: &AffinityTarget,
        idle: Duration,
    ) -> Result<bool, StoreError>;

    /// Takes a key away from its engine and claims the right to prepare another one. Returns the epoch of the claim;
    /// `None`, and no change, if the key is no longer held at `epoch`.
    async fn replace_affinity(
        &self,
        id: &AffinityId,
        epoch: u64,
        claimer: &str,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError>;

    /// Ends a claim or a held record and keeps the reason until the record is removed. `false`, and no change, if
    /// the record has another epoch or is released already.
    async fn release_affinity(
        &self,
        id: &AffinityId,
        epoch: u64,
        reason: &str,
    ) -> Result<bool, StoreError>;

    /// Records how long ago held keys were last active. Moves the last activity forward, never backwards, and the
    /// expiry with it. Never creates a record that was removed.
    async fn touch_affinity(&self, active: &[(AffinityId, Duration)]) -> Result<(), StoreError>;

    /// One page of the held records of a pool, or of one of its engines. Includes expired records that were not
    /// removed yet. A page with fewer than `limit` records is the last one.
    async fn list_affinity(
        &self,
        page: &AffinityPage<'_>,
        limit: u32,
    ) -> Result<Vec<AffinityRecord>, StoreError>;

    /// The live records of an owner, oldest first, at most `limit`.
    async fn affinity_of_owner(
        &self,
        kind: AffinityKind,
        owner: &OwnerId,
        limit: u32,
    ) -> Result<Vec<AffinityRecord>, StoreError>;

    /// Removes every record of an owner. Returns their number.
    async fn remove_affinity_of_owner(
        &self,
        kind: AffinityKind,
        owner: &OwnerId,
    ) -> Result<u64, StoreError>;

    /// Removes up to `limit` expired records, those that expired first before others. Returns their number. A
    /// record that a concurrent call touches stays.
    async fn sweep_affinity(&self, limit: u32) -> Result<u64, StoreError>;

    /// Writes the engines of browser tabs. Needs no claim: where two replicas write one tab, the later activity wins.
    async fn put_tab_affinity(&self, tabs: &[TabAffinity]) -> Result<(), StoreError>;
}
