//! Exchanges with the other replicas, at each heartbeat, how many streams each session has in each pool. Only changed
//! counts are sent, and only of pools with a limit, so that other pools cost no call. Enforces no limit.

use super::sync::LedgerSync;
use berth_store::StoreError;

impl LedgerSync {
    /// Exchanges the counts. `restart`: the ledger may lack counts or have outdated ones, so that all are sent.
    pub(super) async fn exchange_streams(&mut self, restart: bool) -> Result<(), StoreError> {
        let streams = self.accounting_registry.streams();
        let restart = restart || !self.exchanges_streams;
        if restart {
            streams.start_exchange();
        }
        let changed = streams.take_changed();
        if changed.is_empty() && !restart {
            return Ok(());
        }
        let counts: Vec<_> = changed.iter().map(|c| (c.name(), c.own)).collect();
        let redis = &self.ledger.0.redis;
        let remote_counts = redis.exchange_streams(&counts, restart).await?;
        streams.set_remote(changed.into_iter().zip(remote_counts));
        self.exchanges_streams = true;
        Ok(())
    }

    /// Stops the exchange. The counts of other replicas are unknown then, and each replica enforces limits alone.
    pub(super) fn stop_stream_exchange(&mut self) {
        self.exchanges_streams = false;
        self.accounting_registry.streams().stop_exchange();
    }
}
