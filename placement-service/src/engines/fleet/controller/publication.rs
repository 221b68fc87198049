//! The snapshot that the controller publishes: the engines of each pool, and the content of their probes. Changes no engine.

use super::FleetController;
use crate::engines::fleet::{Fleet, PoolFleet};
use std::collections::HashMap;
use std::sync::Arc;
use tracing::{info, warn};

impl FleetController {
    /// Publishes the current state of all pools.
    pub(super) fn publish(&mut self) {
        let mut pools = Vec::with_capacity(self.pools.len());
        let mut reports = HashMap::new();
        for pool_state in &mut self.pools {
            let engines = pool_state.engines.values();
            let pool = PoolFleet {
                name: Arc::clone(&pool_state.name),
                discovered: pool_state.sources.iter().all(|source| source.reported),
                current: pool_state.sources.iter().all(|s| s.reported && !s.failing),
                engines: engines.map(|w| Arc::clone(&w.engine)).collect(),
            };
            let metrics_stale = pool.metrics_stale();
            if metrics_stale && !pool_state.metrics_stale {
                warn!(pool = %pool.name, "the load of no engine is known: the pool uses the counts of Berth alone");
            } else if pool_state.metrics_stale && !metrics_stale {
                info!(pool = %pool.name, "the load of an engine is known again, or no engine is in use");
            }
            pool_state.metrics_stale = metrics_stale;
            for (name, engine_state) in &pool_state.engines {
                if let Some(report) = &engine_state.report {
                    let key = (Arc::clone(&pool.name), name.clone());
                    reports.insert(key, Arc::clone(report));
                }
            }
            pools.push(pool);
        }
        let fleet = Fleet { pools, reports };
        self.snapshots.send_replace(Arc::new(fleet));
    }
}
