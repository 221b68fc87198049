//! The engine of each key of an affinity: all requests of one key reach one engine, over all replicas and restarts.
//! Knows neither how an engine is chosen nor how it is prepared: that is the caller's [`EngineSource`].
//!
//! One replica at a time prepares an engine for a key:
//!
//! 1. claim: the store gives the key to one caller. The others get the engine if there is one, or wait.
//! 2. prepare: the claimer chooses an engine and prepares it. If that fails, it releases the claim.
//! 3. hold: the claimer stores the engine, if its claim was not overtaken meanwhile. Otherwise it discards what it has
//!    prepared, and starts again at 1.
//!
//! A claimer that dies is overtaken after the time of its claim. A key whose engine is lost goes back to step 2 with a
//! greater epoch. Within a replica, concurrent requests of one key share one pass through these steps.
//!
//! Held keys are cached for at most [`DirectorySettings::max_age`]: for so long a replica may return an engine that
//! another replica has replaced, if it does not find the engine lost itself. While the store does not answer, the keys
//! in memory keep their engines.

mod activity;
mod claim_guard;
mod identity;
mod move_log;

pub use identity::{AffinityKeys, key_name, parse_key_name};
pub use move_log::MoveLog;

use activity::ActivityLog;
use async_trait::async_trait;
use berth_store::{
    AffinityClaim, AffinityId, AffinityPage, AffinityRecord, AffinityState, AffinityStore,
    AffinityTarget, ClaimResult, OwnerId, StoreError,
};
use claim_guard::ClaimGuard;
use moka::future::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Maximum number of cached keys; further ones are read from the store.
const MAX_CACHED: u64 = 200_000;
/// A key that has not been used for this long is no longer kept for outages of the store.
const KNOWN_TTL: Duration = Duration::from_secs(24 * 3600);
/// How often a replica looks whether another one has prepared an engine.
const CLAIM_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Why a claim is released: no engine could be prepared.
const PREPARATION_FAILED: &str = "preparation-failed";

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

/// The engines of all keys.
pub struct AffinityDirectory {
    store: Arc<dyn AffinityStore>,
    cache: Cache<AffinityId, Arc<HeldKey>>,
    /// The latest engine of each key, for outages of the store.
    known: Cache<AffinityId, Arc<HeldKey>>,
    activity: ActivityLog,
    /// `None`: nobody hears of moves.
    moves: Option<MoveLog>,
    settings: DirectorySettings,
}

impl AffinityDirectory {
    #[must_use]
    pub fn new(
        store: Arc<dyn AffinityStore>,
        moves: Option<MoveLog>,
        settings: DirectorySettings,
    ) -> Self {
        let cache = Cache::builder()
            .max_capacity(MAX_CACHED)
            .time_to_live(settings.max_age)
            .build();
        let known = Cache::builder()
            .max_capacity(MAX_CACHED)
            .time_to_idle(KNOWN_TTL)
            .build();
        Self {
            store,
            cache,
            known,
            activity: ActivityLog::default(),
            moves,
            settings,
        }
    }

    /// The engine of a key. Prepares one if the key has none, or if its engine is lost.
    ///
    /// # Errors
    /// When the key has no usable engine by the deadline.
    pub async fn resolve<S: EngineSource>(
        &self,
        request: &KeyRequest<'_>,
        source: &S,
        deadline: Instant,
    ) -> Result<Resolution, ResolveError<S::Error>> {
        let resolving = timeout_at(deadline, self.resolve_cached(request, source));
        let late = |_| Err(ResolveError::DeadlineExceeded);
        resolving.await.unwrap_or_else(late)
    }

    async fn resolve_cached<S: EngineSource>(
        &self,
        request: &KeyRequest<'_>,
        source: &S,
    ) -> Result<Resolution, ResolveError<S::Error>> {
        loop {
            let is_new = AtomicBool::new(false);
            let resolving = self.resolve_or_keep(request, source, &is_new);
            // Concurrent requests of one key wait for the first one. If that is cancelled, the next one goes on.
            let held = self.cache.try_get_with(request.id, resolving).await;
            let held = held.map_err(|error| ResolveError::clone(&error))?;
            let is_new = is_new.into_inner();
            match source.state(&held.target) {
                TargetState::Usable => return Ok(Resolution { held, is_new }),
                TargetState::Unavailable => return Err(ResolveError::EngineUnavailable),
                TargetState::Lost => self.cache.invalidate(&request.id).await,
            }
        }
    }

    /// As [`Self::resolve_in_store`]; while the store does not answer, a key in memory keeps its engine.
    async fn resolve_or_keep<S: EngineSource>(
        &self,
        request: &KeyRequest<'_>,
        source: &S,
        is_new: &AtomicBool,
    ) -> Result<Arc<HeldKey>, ResolveError<S::Error>> {
        let resolved = self.resolve_in_store(request, source, is_new).await;
        match &resolved {
            Ok(held) => self.known.insert(request.id, Arc::clone(held)).await,
            Err(ResolveError::Store(_)) => {
                let known = self.known.get(&request.id).await;
                let usable =
                    |held: &Arc<HeldKey>| source.state(&held.target) == TargetState::Usable;
                if let Some(held) = known.filter(usable) {
                    return Ok(held);
                }
            }
            Err(_) => {}
        }
        resolved
    }

    async fn resolve_in_store<S: EngineSource>(
        &self,
        request: &KeyRequest<'_>,
        source: &S,
        is_new: &AtomicBool,
    ) -> Result<Arc<HeldKey>, ResolveError<S::Error>> {
        let settings = &self.settings;
        let claim = AffinityClaim {
            id: request.id,
            owner: request.owner,
            pool: request.pool,
            claimer: &settings.claimer,
            ttl: settings.claim_ttl,
            max_per_owner: request.max_per_owner,
        };
        loop {
            let claimed = self.store.claim_affinity(&claim).await;
            let epoch = match claimed.map_err(ResolveError::Store)? {
                ClaimResult::Claimed { epoch } => epoch,
                ClaimResult::LimitReached => return Err(ResolveError::LimitReached),
                ClaimResult::Preparing { remaining } => {
                    sleep(remaining.min(CLAIM_POLL_INTERVAL)).await;
                    continue;
                }
                ClaimResult::Held(record) => {
                    let AffinityState::Held(target) = record.state else {
                        let malformed = "an affinity without an engine".to_owned();
                        return Err(ResolveError::Store(StoreError::Data(malformed)));
                    };
                    let epoch = record.epoch;
                    match source.state(&target) {
                        TargetState::Usable => return Ok(Arc::new(HeldKey { target, epoch })),
                        TargetState::Unavailable => return Err(ResolveError::EngineUnavailable),
                        TargetState::Lost => {}
                    }
                    let (claimer, ttl) = (&settings.claimer, settings.claim_ttl);
                    let id = &request.id;
                    let replaced = self.store.replace_affinity(id, epoch, claimer, ttl).await;
                    match replaced.map_err(ResolveError::Store)? {
                        Some(epoch) => {
                            self.publish_move(&request.id, epoch).await;
                            epoch
                        }
                        None => continue,
                    }
                }
            };
            if let Some(held) = self.prepare_and_hold(request, source, epoch).await? {
                is_new.store(true, Ordering::Relaxed);
                return Ok(Arc::new(held));
            }
        }
    }

    /// Prepares an engine under the claim `epoch`; `None` if the claim was overtaken.
    async fn prepare_and_hold<S: EngineSource>(
        &self,
        request: &KeyRequest<'_>,
        source: &S,
        epoch: u64,
    ) -> Result<Option<HeldKey>, ResolveError<S::Error>> {
        // Also releases the claim when this future is dropped.
        let guard = ClaimGuard::new(
            Arc::clone(&self.store),
            request.id,
            epoch,
            PREPARATION_FAILED,
        );
        let target = match source.prepare().await {
            Ok(target) => target,
            Err(error) => {
                guard.release().await;
                return Err(ResolveError::Preparation(error));
            }
        };
        let (claimer, idle) = (&self.settings.claimer, request.idle);
        let held = self
            .store
            .hold_affinity(&request.id, epoch, claimer, &target, idle)
            .await;
        match held {
            Ok(true) => {
                guard.disarm();
                Ok(Some(HeldKey { target, epoch }))
            }
            Ok(false) => {
                guard.disarm();
                source.discard(target).await;
                Ok(None)
            }
            // The store may have stored it all the same: the release makes that undone.
            Err(error) => {
                source.discard(target).await;
                guard.release().await;
                Err(ResolveError::Store(error))
            }
        }
    }

    /// Takes a key away from its engine, for a constant reason. `false` if it has another engine by now.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn release(
        &self,
        id: AffinityId,
        epoch: u64,
        reason: &'static str,
    ) -> Result<bool, StoreError> {
        let released = self.store.release_affinity(&id, epoch, reason).await?;
        let next = epoch.saturating_add(1);
        self.forget(id, next).await;
        if released {
            self.publish_move(&id, next).await;
        }
        Ok(released)
    }

    async fn publish_move(&self, id: &AffinityId, epoch: u64) {
        if let Some(moves) = &self.moves {
            moves.append(key_name(id), epoch).await;
        }
    }

    /// The record of a key that has an engine.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn find(&self, id: &AffinityId) -> Result<Option<AffinityRecord>, StoreError> {
        let record = self.store.find_affinity(id).await?;
        Ok(record.filter(|record| matches!(record.state, AffinityState::Held(_))))
    }

    /// One page of the keys that have an engine.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(
        &self,
        page: &AffinityPage<'_>,
        limit: u32,
    ) -> Result<Vec<AffinityRecord>, StoreError> {
        self.store.list_affinity(page, limit).await
    }

    /// The key has another engine, or none, since that epoch: the next request reads the store.
    pub async fn forget(&self, id: AffinityId, epoch: u64) {
        for cache in [&self.cache, &self.known] {
            let known = cache.get(&id).await;
            if known.is_some_and(|held| held.epoch < epoch) {
                cache.invalidate(&id).await;
            }
        }
    }

    /// Records that the key was active.
    pub fn record_activity(&self, id: AffinityId, at: Instant) {
        self.activity.record(id, at);
    }

    /// Removes keys that have expired from the store, at most `limit`. Returns their number.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn sweep(&self, limit: u32) -> Result<u64, StoreError> {
        self.store.sweep_affinity(limit).await
    }

    /// Writes the recorded activity to the store. What cannot be written is kept for the next call.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn flush_activity(&self, now: Instant) -> Result<(), StoreError> {
        self.activity.flush(self.store.as_ref(), now).await
    }
}

#[cfg(test)]
mod tests;
