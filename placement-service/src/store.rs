//! Opens the store that the configuration names.

pub use berth_store::*;

use crate::config;
use std::sync::Arc;

/// Opens the store and brings its tables up to date.
pub async fn open(config: &config::Store) -> Result<Stores, StoreError> {
    match config {
        config::Store::Sqlite { path } => {
            let store = sqlite::SqliteStore::open(path).await?;
            Ok(Stores::whole(Arc::new(store)))
        }
    }
}
