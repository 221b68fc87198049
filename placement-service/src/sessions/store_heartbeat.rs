//! The task that sends heartbeats to the store and reports in a metric whether it accepts writes.

use crate::core::metrics::register_metric;
use berth_store::Stores;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::task::AbortHandle;

/// Sends heartbeats until it is dropped.
pub struct StoreHeartbeat(AbortHandle);

impl StoreHeartbeat {
    /// Starts the task.
    #[must_use]
    pub fn start(stores: &Stores, registry: &mut Registry) -> Self {
        let writable: Gauge = register_metric(
            registry,
            "store_writable",
            "Whether the store has accepted the latest writes",
        );
        let (writability, shared) = (stores.writability.clone(), stores.coordination.clone());
        let watching = async move {
            let report = |accepts: bool| {
                writable.set(i64::from(accepts));
            };
            writability.watch(shared.as_ref(), report).await;
        };
        Self(tokio::spawn(watching).abort_handle())
    }
}

impl Drop for StoreHeartbeat {
    fn drop(&mut self) {
        self.0.abort();
    }
}
