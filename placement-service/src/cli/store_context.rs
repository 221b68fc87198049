//! Opens the configured store for commands that need no running service. Sessions that they end are logged on standard
//! error like in the service; running services learn of the end through the event log.

use super::{ConfigFile, Failure};
use berth_placement::app::telemetry;
use berth_placement::app::{secrets, stores};
use berth_placement::config::{Config, Log};
use berth_placement::core::clock::{Clock, SystemClock};
use berth_placement::core::metrics::Metrics;
use berth_placement::sessions::Sessions;
use berth_store::Stores;
use std::sync::Arc;

/// The configured store, with what is needed to work on it.
pub(super) struct StoreContext {
    pub(super) config: Config,
    pub(super) stores: Stores,
    pub(super) clock: Arc<dyn Clock>,
}

impl StoreContext {
    /// Loads the configuration and opens its store.
    pub(super) async fn new(file: &ConfigFile) -> Result<Self, Failure> {
        let config = file.load()?.config;
        let secrets = secrets::fetch_store(&config.store, &|name| std::env::var(name).ok())
            .map_err(|faults| file.failure(&faults))?;
        Ok(Self {
            stores: stores::open(&config, secrets).await?,
            clock: Arc::new(SystemClock),
            config,
        })
    }

    /// Opens the sessions of the store, and starts to log audit lines and warnings on standard error.
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
