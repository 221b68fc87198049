//! Opens the configured store for commands that need no running service. Sessions that they end are logged on standard
//! error like in the service; running services learn of the end through the event log.

use super::{ConfigFile, Failure};
use berth_placement::app::telemetry;
use berth_placement::app::{secrets, stores};
use berth_placement::config::fault::{Fault, Faults};
use berth_placement::config::{Config, Log, Store};
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
    /// Loads the configuration and opens its store, which must exist.
    pub(super) async fn open(file: &ConfigFile) -> Result<Self, Failure> {
        Self::build(file, false).await
    }

    /// As [`Self::open`], but creates a database file that is missing: the service may not have started yet.
    pub(super) async fn open_or_create(file: &ConfigFile) -> Result<Self, Failure> {
        Self::build(file, true).await
    }

    async fn build(file: &ConfigFile, create: bool) -> Result<Self, Failure> {
        file.require_file()?;
        let config = file.load()?.config;
        if let Store::Sqlite { path, .. } = &config.store
            && !create
            && !path.exists()
        {
            let message = format!("there is no database {}", path.display());
            return Err(file.failure(&Faults(vec![Fault::new("store.path", message)])));
        }
        let secrets = secrets::fetch_store(&config.store, &|name| std::env::var(name).ok())
            .map_err(|faults| file.failure(&faults))?;
        let stores = stores::open(&config, secrets).await;
        Ok(Self {
            stores: stores.map_err(|fault| file.failure(&Faults(vec![fault])))?,
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
