//! Opens the store that the configuration names.

pub use berth_store::*;

use crate::config;
use crate::config::secrets::StoreSecrets;
use crate::secret::Secret;
use std::sync::Arc;

/// Opens the store and brings its tables up to date.
pub async fn open(config: &config::Store, secrets: &StoreSecrets) -> Result<Stores, StoreError> {
    let url = secrets.url.as_ref().map_or("", Secret::reveal);
    // Less than the guard's, so that the adapter sees for itself that it was left without an answer.
    let limit = config.timeout().mul_f32(0.9);
    let stores = match config {
        config::Store::Sqlite { path, .. } => {
            Stores::whole(Arc::new(sqlite::SqliteStore::open(path).await?))
        }
        config::Store::Postgres { .. } => {
            Stores::whole(Arc::new(postgres::PostgresStore::open(url, limit).await?))
        }
        config::Store::Redis { prefix, .. } => {
            let store = redis::RedisStore::open(url, prefix, limit).await?;
            Stores::whole(Arc::new(store))
        }
    };
    Ok(stores.guarded(config.timeout()))
}

/// Why a URL cannot be one of this kind of store, without its secrets.
pub(crate) fn check_url(config: &config::Store, url: &str) -> Result<(), String> {
    let checked = match config {
        config::Store::Sqlite { .. } => Ok(()),
        config::Store::Postgres { .. } => postgres::PostgresStore::check_url(url),
        config::Store::Redis { .. } => redis::RedisStore::check_url(url),
    };
    match checked {
        Err(StoreError::Data(fault) | StoreError::Down(fault)) => Err(fault),
        Ok(()) | Err(StoreError::ReadOnly) => Ok(()),
    }
}
