//! The gateways of all replicas as one list. Each replica publishes the gateways that report to it as a text in the
//! store. A gateway that has changed its replica is in two of these lists; its later report decides. Knows no drain.

use super::registry::GatewayView;
use crate::core::clock::Clock;
use berth_store::{Coordination, StoreError};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The key of a list is this prefix and the random name of the replica.
const KEY_PREFIX: &str = "gateways/";
/// Minimum time between two publications if other gateways report than before, or if an Envoy is drained.
const SHORT_INTERVAL: Duration = Duration::from_secs(1);
/// The same if only the streams of the gateways have changed.
const INTERVAL: Duration = Duration::from_secs(5);
/// A list is published again after this time, unless it is empty.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A list that is older belongs to a replica that has stopped.
const OUTDATED_MS: u64 = 45_000;

/// The list of this replica in the store.
pub(super) struct GatewayList {
    store: Arc<dyn Coordination>,
    clock: Arc<dyn Clock>,
    key: String,
    published: Mutex<Option<(Instant, Vec<GatewayView>)>>,
}

#[derive(Serialize, Deserialize)]
struct PublishedList {
    /// Milliseconds since the Unix epoch.
    at_ms: u64,
    gateways: Vec<GatewayView>,
}

impl GatewayList {
    /// Removes the lists of replicas that have stopped.
    pub(super) async fn open(
        store: Arc<dyn Coordination>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let now_ms = clock.now_ms();
        for (key, text) in store.list_values(KEY_PREFIX).await? {
            let list: Option<PublishedList> = serde_json::from_str(&text).ok();
            if list.is_none_or(|list| list.is_outdated(now_ms)) {
                store.put_value(&key, None).await?;
            }
        }
        Ok(Self {
            store,
            clock,
            key: format!("{KEY_PREFIX}{:016x}", rand::rng().random::<u64>()),
            published: Mutex::default(),
        })
    }

    /// Publishes the gateways of this replica if they have changed, or if the last publication is too old.
    pub(super) async fn publish(
        &self,
        gateways: Vec<GatewayView>,
        draining: bool,
    ) -> Result<(), StoreError> {
        let mut published = self.published.lock().await;
        let empty = Vec::new();
        let (age, before) = match &*published {
            Some((at, before)) => (at.elapsed(), before),
            None => (HEARTBEAT, &empty),
        };
        let interval = if draining || !is_same_set(before, &gateways) {
            SHORT_INTERVAL
        } else {
            INTERVAL
        };
        let changed = is_changed(before, &gateways);
        let due = changed && age >= interval || !gateways.is_empty() && age >= HEARTBEAT;
        if !due {
            return Ok(());
        }
        let list = PublishedList {
            at_ms: self.clock.now_ms(),
            gateways,
        };
        let text = serde_json::to_string(&list)
            .map_err(|e| StoreError::Data(format!("a list of gateways cannot be encoded: {e}")))?;
        let text = (!list.gateways.is_empty()).then_some(text);
        self.store.put_value(&self.key, text.as_deref()).await?;
        *published = Some((Instant::now(), list.gateways));
        Ok(())
    }

    /// The name of this replica.
    pub(super) fn own_name(&self) -> &str {
        self.key.strip_prefix(KEY_PREFIX).unwrap_or(&self.key)
    }

    /// The names of the other replicas that have gateways.
    pub(super) async fn other_replicas(&self) -> Result<BTreeSet<String>, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut names = BTreeSet::new();
        for (key, text) in self.store.list_values(KEY_PREFIX).await? {
            let list: Option<PublishedList> = serde_json::from_str(&text).ok();
            if key != self.key && list.is_some_and(|list| !list.is_outdated(now_ms)) {
                names.extend(key.strip_prefix(KEY_PREFIX).map(str::to_owned));
            }
        }
        Ok(names)
    }

    /// The gateways of all replicas, sorted by name, and whether the store has answered. `own` are those of this
    /// replica.
    pub(super) async fn read(&self, own: Vec<GatewayView>) -> (Vec<GatewayView>, bool) {
        let texts = self.store.list_values(KEY_PREFIX).await;
        let complete = texts.is_ok();
        let now_ms = self.clock.now_ms();
        let others = texts.unwrap_or_default().into_iter();
        let others = others.filter(|(key, _)| *key != self.key);
        let others = others.filter_map(|(_, text)| serde_json::from_str(&text).ok());
        let others = others.filter(|list: &PublishedList| !list.is_outdated(now_ms));
        let mut merged: BTreeMap<String, GatewayView> = BTreeMap::new();
        for view in others.flat_map(|list| list.aged(now_ms)).chain(own) {
            let view = match merged.remove(&view.gateway) {
                Some(other) => latest(other, view),
                None => view,
            };
            merged.insert(view.gateway.clone(), view);
        }
        (merged.into_values().collect(), complete)
    }
}

/// The view of the replica that has the later report. A gateway sends its identity only with its polls, so that replica
/// may not know it yet.
fn latest(one: GatewayView, other: GatewayView) -> GatewayView {
    let (old, new) = if one.sequence <= other.sequence {
        (one, other)
    } else {
        (other, one)
    };
    GatewayView {
        node: new.node.or(old.node),
        version: new.version.or(old.version),
        ..new
    }
}

impl PublishedList {
    fn is_outdated(&self, now_ms: u64) -> bool {
        self.at_ms.saturating_add(OUTDATED_MS) < now_ms
    }

    /// The gateways, which have been silent for as long as the list is old, or longer.
    fn aged(self, now_ms: u64) -> impl Iterator<Item = GatewayView> {
        let age_s = now_ms.saturating_sub(self.at_ms) / 1000;
        self.gateways.into_iter().map(move |view| GatewayView {
            silent_s: view.silent_s.saturating_add(age_s),
            ..view
        })
    }
}

/// Whether the same gateways report.
fn is_same_set(before: &[GatewayView], now: &[GatewayView]) -> bool {
    let names = |views: &[GatewayView]| -> Vec<(String, Option<String>)> {
        let names = views.iter().map(|v| (v.gateway.clone(), v.node.clone()));
        names.collect()
    };
    names(before) == names(now)
}

/// Whether anything but the progress of the reports has changed.
fn is_changed(before: &[GatewayView], now: &[GatewayView]) -> bool {
    let same = |(before, now): (&GatewayView, &GatewayView)| {
        let progressed = GatewayView {
            sequence: now.sequence,
            silent_s: now.silent_s,
            ..before.clone()
        };
        progressed == *now
    };
    before.len() != now.len() || !before.iter().zip(now).all(same)
}
