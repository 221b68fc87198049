//! What operators see of keys: which ones are on an engine, the key of a request, and the release of a key. Decides no
//! placement.

use super::affinity_directory::{key_name, parse_key_name};
use super::{PlaceRequest, PlacementService};
use crate::config::AffinityMode;
use crate::core::rejection::Rejection;
use berth_api::RejectReason;
use berth_store::{AffinityKind, AffinityPage, AffinityRecord, AffinityState, StoreError};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Why a key that an operator releases loses its engine.
const BY_OPERATOR: &str = "operator";

/// A key that has an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Affinity)]
pub struct KeyView {
    /// Its opaque name, as gateways report it.
    pub key: String,
    pub pool: String,
    pub engine: String,
    /// Grows with each change of the engine.
    pub epoch: u64,
    /// Unix milliseconds, by the clock of the store.
    pub created_at_ms: u64,
    /// The latest activity that the store has, in Unix milliseconds.
    pub last_active_at_ms: u64,
    /// The end without further activity, in Unix milliseconds.
    pub expires_at_ms: u64,
    /// WebSockets of the key that this replica counts; absent if it counts none of the key.
    pub streams: Option<u32>,
}

/// The keys of a page.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = Affinities)]
pub struct KeyPage {
    pub affinities: Vec<KeyView>,
    /// The parameter `after` of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The key of a request, in an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ExplainedKey)]
pub struct ExplainedKey {
    /// Its opaque name.
    pub key: String,
    /// `sticky` or `preferred`.
    pub mode: &'static str,
    /// Its engine; absent if it has none, or if its engines are preferred only.
    pub engine: Option<String>,
    /// Grows with each change of the engine.
    pub epoch: Option<u64>,
    /// WebSockets of the key that this replica counts.
    pub streams: u32,
    /// Seconds until it loses its engine if there is no more activity.
    pub idle_left_s: Option<u64>,
}

impl PlacementService {
    /// One page of the keys of a pool, or of one of its engines; `after`: the end of the previous page.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list_keys(
        &self,
        pool: &str,
        engine: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<KeyPage, StoreError> {
        let Some(keys) = &self.keys else {
            return Ok(KeyPage::default());
        };
        let after = after.and_then(|after| after.rsplit_once('/'));
        let page = AffinityPage {
            kind: AffinityKind::Key,
            pool,
            engine,
            after: after.and_then(|(engine, key)| Some((engine, parse_key_name(key)?))),
        };
        let records = keys.directory.list(&page, limit).await?;
        let is_full = u32::try_from(records.len()).is_ok_and(|listed| listed == limit);
        let affinities: Vec<KeyView> = records
            .into_iter()
            .filter_map(|record| self.view_key(record))
            .collect();
        let last = affinities.last().filter(|_| is_full);
        let next = last.map(|view| format!("{}/{}", view.engine, view.key));
        Ok(KeyPage { affinities, next })
    }

    fn view_key(&self, record: AffinityRecord) -> Option<KeyView> {
        let AffinityState::Held(target) = record.state else {
            return None;
        };
        let local = self.key_table.get(&record.id, Instant::now());
        Some(KeyView {
            key: key_name(&record.id),
            pool: record.pool,
            engine: target.engine,
            epoch: record.epoch,
            created_at_ms: record.created_at_ms,
            last_active_at_ms: record.last_active_at_ms,
            expires_at_ms: record.expires_at_ms,
            streams: local.map(|local| local.streams),
        })
    }

    /// Takes a key away from its engine: the next request gets one anew. WebSockets stay open. `false` if the key has no
    /// engine.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn release_key(&self, key: &str) -> Result<bool, StoreError> {
        let (Some(keys), Some(id)) = (&self.keys, parse_key_name(key)) else {
            return Ok(false);
        };
        let Some(record) = keys.directory.find(&id).await? else {
            return Ok(false);
        };
        let released = keys
            .directory
            .release(id, record.epoch, BY_OPERATOR)
            .await?;
        self.key_table.remove(&id, record.epoch.saturating_add(1));
        Ok(released)
    }

    /// The key of a request; `None` if it has none.
    ///
    /// # Errors
    /// For a path that has no route, or without an answer of the store.
    pub async fn explain_key(
        &self,
        request: &PlaceRequest<'_>,
    ) -> Result<Option<ExplainedKey>, Rejection> {
        let details = self.routes.describe(request.host, request.path)?;
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        let Some(key) = keys.request_key(&details, request)? else {
            return Ok(None);
        };
        let mode = match key.settings.mode {
            AffinityMode::Sticky => "sticky",
            AffinityMode::Preferred => "preferred",
        };
        let record = keys
            .directory
            .find(&key.id)
            .await
            .map_err(|_| Rejection::new(RejectReason::StoreDown).with_retry_after(1))?;
        let local = self.key_table.get(&key.id, Instant::now());
        let view = record.and_then(|record| self.view_key(record));
        let now_ms = self.clock.now_ms();
        let left = |view: &KeyView| view.expires_at_ms.saturating_sub(now_ms) / 1000;
        Ok(Some(ExplainedKey {
            key: key.name,
            mode,
            epoch: view.as_ref().map(|view| view.epoch),
            idle_left_s: view.as_ref().map(left),
            engine: view.map(|view| view.engine),
            streams: local.map_or(0, |local| local.streams),
        }))
    }
}
