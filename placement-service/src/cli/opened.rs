//! What commands work on that need no running service: the configured store, opened. What they end is logged
//! on standard error as the service would, and running services hear of it through the event log.

use super::{ConfigFile, Failure};
use berth_placement::app::telemetry;
use berth_placement::app::{secrets, stores};
use berth_placement::config::{Config, Log};
use berth_placement::core::clock::{Clock, SystemClock};
use berth_placement::core::metrics::Metrics;
use berth_placement::sessions::Sessions;
use berth_store::Stores;
use std::sync::Arc;

/// The configured store.
pub(super) struct Opened {
    pub(super) config: Config,
    pub(super) stores: Stores,
    pub(super) clock: Arc<dyn Clock>,
}

impl Opened {
    /// Opens what the configuration names.
    pub(super) async fn new(file: &ConfigFile) -> Result<Self, Failure> {
        let config = file.load()?.config;
        let secrets = secrets::fetch_store(&config.store, &|name| std::env::var(name).ok())
            .map_err(|faults| Failure::faults(file.named(), &faults))?;
        Ok(Self {
            stores: stores::open(&config, secrets).await?,
            clock: Arc::new(SystemClock),
            config,
        })
    }

    /// Its sessions; from here on audit lines and warnings go to standard error.
    pub(super) async fn sessions(&self) -> Result<Sessions, Failure> {
        telemetry::start(&Log {
            level: "warn".to_owned(),
            format: self.config.log.format,
        })?;
        let metrics = Arc::new(Metrics::default());
        let (stores, clock) = (self.stores.clone(), self.clock.clone());
        Ok(Sessions::open(stores, clock, metrics, &self.config.session).await?)
    }
}
