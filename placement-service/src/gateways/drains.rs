//! Drains of Envoys: the gateways of a drained Envoy close their sockets, spread over a period, and refuse new ones if
//! the operator requires that. A drain is a record in the store, so that every replica notifies the gateways that report to
//! it within a second. While the store does not respond, the last known drains continue. Closes no socket itself.

use super::registry::{DrainRecords, GatewayDrain, GatewayView};
use super::replicas::GatewayList;
use super::{Gateways, Shared};
use crate::core::clock::Clock;
use crate::core::ticker::ticker;
use crate::engines::drains::{Drain, encode_record};
use berth_store::{Coordination, StoreError};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The records are read at this interval: another replica knows of a drain after at most this time.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// The key of a record is this prefix and the `node.id` of the Envoy.
const KEY_PREFIX: &str = "gateway-drain/";
/// Retention of a record after the end of its drain. The ids of most Envoys do not return.
const RETENTION_MS: u64 = 24 * 60 * 60 * 1000;

/// The drains of all Envoys, and the task that applies them.
pub struct GatewayDrains {
    state: Arc<State>,
    watch_task: AbortHandle,
}

struct State {
    gateways: Arc<Shared>,
    store: Arc<dyn Coordination>,
    clock: Arc<dyn Clock>,
    /// The records, as last read. Bounded by the retention.
    records: Mutex<DrainRecords>,
    list: Arc<GatewayList>,
}

impl Drop for GatewayDrains {
    fn drop(&mut self) {
        self.watch_task.abort();
    }
}

impl GatewayDrains {
    /// Reads the records before it returns, and then starts a task that follows them.
    ///
    /// # Errors
    /// When the store does not respond.
    pub async fn start(
        gateways: &Gateways,
        store: Arc<dyn Coordination>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let list = GatewayList::open(store.clone(), clock.clone()).await?;
        let state = Arc::new(State {
            gateways: gateways.shared.clone(),
            store,
            clock,
            records: Mutex::default(),
            list: Arc::new(list),
        });
        state.refresh().await?;
        let watch_task = tokio::spawn(watch(Arc::clone(&state))).abort_handle();
        Ok(Self { state, watch_task })
    }

    /// Drains an Envoy over that period, and returns the stored drain. Restarts the drain if it is draining.
    ///
    /// # Errors
    /// When the store does not respond. Nothing has changed then.
    pub async fn drain(
        &self,
        node: &str,
        over: Duration,
        refuse: bool,
    ) -> Result<GatewayDrain, StoreError> {
        let drain = Drain::starting(self.state.clock.now_ms(), over);
        let drain = GatewayDrain { drain, refuse };
        let text = encode_record(&drain)?;
        let key = record_key(node);
        self.state.store.put_value(&key, Some(&text)).await?;
        let over_ms = drain.drain.over_ms;
        tracing::info!(node, over_ms, refuse, "Envoy is drained");
        self.state.refresh().await?;
        Ok(drain)
    }

    /// Ends a drain: the gateways accept new WebSockets again. They still close the sockets that the drain has
    /// scheduled.
    ///
    /// # Errors
    /// When the store does not respond. Nothing has changed then.
    pub async fn undrain(&self, node: &str) -> Result<(), StoreError> {
        self.state.store.put_value(&record_key(node), None).await?;
        tracing::info!(node, "Envoy is no longer drained");
        self.state.refresh().await
    }

    /// The lists of all replicas.
    pub(super) fn replicas(&self) -> Arc<GatewayList> {
        self.state.list.clone()
    }

    /// The gateways of all replicas, and whether the list is complete. Without an answer of the store it has only the
    /// gateways of this replica.
    pub async fn gateways(&self) -> (Vec<GatewayView>, bool) {
        self.state.list.read(self.state.own_gateways()).await
    }
}

fn record_key(node: &str) -> String {
    format!("{KEY_PREFIX}{node}")
}

async fn watch(state: Arc<State>) {
    let mut ticks = ticker(READ_INTERVAL);
    let mut failing = false;
    loop {
        ticks.tick().await;
        let read = state.load().await;
        if let Err(error) = &read
            && !failing
        {
            tracing::warn!(%error, "drains of Envoys cannot be read; the last known ones continue");
        }
        failing = read.is_err();
        state.apply();
        let draining = state.gateways.registry().draining() > 0;
        if let Err(error) = state.list.publish(state.own_gateways(), draining).await {
            tracing::debug!(%error, "the list of gateways is not published");
        }
    }
}

impl State {
    fn records(&self) -> MutexGuard<'_, DrainRecords> {
        self.records.lock()
    }

    fn own_gateways(&self) -> Vec<GatewayView> {
        self.gateways.registry().gateways(Instant::now())
    }

    /// Reads the records, and applies them.
    async fn refresh(&self) -> Result<(), StoreError> {
        self.load().await?;
        self.apply();
        Ok(())
    }

    /// Reads the records, and deletes those whose drain ended before the retention.
    async fn load(&self) -> Result<(), StoreError> {
        let texts = self.store.list_values(KEY_PREFIX).await?;
        let parse = |(key, text): (&String, &String)| {
            let node = key.strip_prefix(KEY_PREFIX)?.to_owned();
            Some((node, serde_json::from_str(text).ok()?))
        };
        let mut records: DrainRecords = texts.iter().filter_map(parse).collect();
        let now_ms = self.clock.now_ms();
        let is_old =
            |drain: &GatewayDrain| drain.drain.end_ms().saturating_add(RETENTION_MS) < now_ms;
        let old = records.extract_if(.., |_, drain| is_old(drain));
        for (node, _) in old.collect::<Vec<_>>() {
            self.store.put_value(&record_key(&node), None).await?;
        }
        *self.records() = records;
        Ok(())
    }

    /// Sends the gateways of this replica the events that they do not have yet.
    fn apply(&self) {
        let now_ms = self.clock.now_ms();
        let records = self.records().clone();
        let events = self.gateways.registry().take_drain_events(&records, now_ms);
        for (gateway, event) in events {
            self.gateways.outbox.push(Some(gateway), event, now_ms);
        }
    }
}
