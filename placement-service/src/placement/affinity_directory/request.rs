//! The requests to the directory, their results, and what a caller must provide for them.

use async_trait::async_trait;
use berth_store::{AffinityId, AffinityTarget, OwnerId, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// Whether the engine of a key still serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    Usable,
    /// It may come back: requests are rejected, and the key stays where it is.
    Unavailable,
    /// It is gone or drained: the key gets another engine.
    Lost,
}

/// Chooses and prepares engines for one request.
#[async_trait]
pub trait EngineSource: Send + Sync {
    /// Why no engine could be prepared.
    type Error: Clone + Send + Sync + 'static;

    /// The state of the engine of a key, as far as this replica knows.
    fn state(&self, target: &AffinityTarget) -> TargetState;

    /// Chooses an engine and prepares it.
    async fn prepare(&self) -> Result<AffinityTarget, Self::Error>;

    /// Undoes the preparation: another replica was faster.
    async fn discard(&self, target: AffinityTarget);
}

/// A request of a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyRequest<'a> {
    pub id: AffinityId,
    /// What `max_per_owner` counts; `None`: no limit.
    pub owner: Option<OwnerId>,
    pub pool: &'a str,
    /// The key keeps its engine for this long without activity.
    pub idle: Duration,
    pub max_per_owner: Option<u32>,
}

/// The engine of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    pub target: AffinityTarget,
    pub epoch: u64,
}

/// The result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    pub held: Arc<HeldKey>,
    /// The engine was prepared for this request.
    pub is_new: bool,
}

/// Why a key has no engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError<E> {
    Store(StoreError),
    /// The owner has as many keys as the limit allows.
    LimitReached,
    /// The key's engine does not answer, but it may come back.
    EngineUnavailable,
    /// No engine could be prepared.
    Preparation(E),
    /// The deadline has passed.
    DeadlineExceeded,
}

/// The settings of a directory.
#[derive(Clone, Debug)]
pub struct DirectorySettings {
    /// The id of this replica.
    pub claimer: String,
    /// How long another replica waits for this one to prepare an engine: longer than a preparation takes.
    pub claim_ttl: Duration,
    /// How long a held key is cached.
    pub max_age: Duration,
}
