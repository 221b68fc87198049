//! The requests to a store of affinity records and their results, where they are more than a record.

use super::{AffinityId, AffinityKind, AffinityRecord, AffinityTarget, OwnerId};
use std::time::Duration;

/// A claim of the right to prepare an engine for a key.
#[derive(Clone, Debug)]
pub struct AffinityClaim<'a> {
    pub id: AffinityId,
    pub owner: Option<OwnerId>,
    pub pool: &'a str,
    /// The id of the replica.
    pub claimer: &'a str,
    /// How long the claim lasts, at most [`super::MAX_CLAIM_TTL`].
    pub ttl: Duration,
    /// The largest number of live records of keys that the owner may have, including this one.
    pub max_per_owner: Option<u32>,
}

/// The result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimResult {
    /// The caller must prepare an engine, then hold or release the record at this epoch.
    Claimed { epoch: u64 },
    /// The key has an engine.
    Held(Box<AffinityRecord>),
    /// Another caller is preparing an engine, for at most this long.
    Preparing { remaining: Duration },
    /// The owner has as many live records as the limit allows; nothing was stored.
    LimitReached,
}

/// A page of held records, in the order of engine and id.
#[derive(Clone, Copy, Debug)]
pub struct AffinityPage<'a> {
    pub kind: AffinityKind,
    pub pool: &'a str,
    /// Only the records of this engine.
    pub engine: Option<&'a str>,
    /// The engine and id of the last record of the previous page. `None`: the first page.
    pub after: Option<(&'a str, AffinityId)>,
}

/// The engine of one browser tab.
#[derive(Clone, Debug)]
pub struct TabAffinity {
    pub id: AffinityId,
    /// The login session: its end removes the record.
    pub owner: OwnerId,
    pub pool: String,
    pub target: AffinityTarget,
    /// How long ago the tab was last active.
    pub idle_for: Duration,
    /// The record expires after this long without activity.
    pub idle: Duration,
}
