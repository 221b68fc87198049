//! Opens the store that the configuration names.

pub use berth_store::*;

use crate::config::secrets::StoreSecrets;
use crate::config::{self, Config};
use crate::secret::Secret;
use crate::server_keys::ServerKeys;
use berth_store::memory::Memory;
use berth_store::redis_jwt::{JwtRules, RedisJwtStore};
use std::sync::Arc;
use std::time::Duration;

/// Opens the store and brings its tables up to date.
pub async fn open(config: &Config, secrets: StoreSecrets) -> Result<Stores, StoreError> {
    let url = secrets.url.as_ref().map_or("", Secret::reveal);
    let timeout = config.store.timeout();
    // Less than the guard's, so that the adapter sees for itself that it was left without an answer.
    let limit = timeout.mul_f32(0.9);
    let stores = match &config.store {
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
        config::Store::RedisJwt(jwt) => redis_jwt(jwt, &config.session, secrets, limit).await?,
    };
    Ok(stores.guarded(timeout))
}

async fn redis_jwt(
    config: &config::RedisJwt,
    session: &config::Session,
    secrets: StoreSecrets,
    limit: Duration,
) -> Result<Stores, StoreError> {
    let seed = secrets.seed.as_ref().map(|seed| seed.reveal().as_bytes());
    let memory = Arc::new(Memory::new(seed)?);
    let keys = ServerKeys::load(memory.as_ref()).await?;
    let rules = JwtRules {
        keys: secrets.keys,
        issuer: config.issuer.clone(),
        audience: config.audience.clone(),
        account_claim: config.account_claim.clone(),
        roles_claim: config.roles_claim.clone(),
        idle_timeout: session.idle_timeout,
        absolute_timeout: session.absolute_timeout,
    };
    let url = secrets.url.as_ref().map_or("", Secret::reveal);
    let name_of = move |id: &session_id::IdHash| keys.session_ref(id);
    let store = RedisJwtStore::open(url, &config.prefix, rules, limit, name_of).await?;
    Ok(store.with(memory))
}

/// Why a URL cannot be one of this kind of store, without its secrets.
pub(crate) fn check_url(config: &config::Store, url: &str) -> Result<(), String> {
    let checked = match config {
        config::Store::Sqlite { .. } => Ok(()),
        config::Store::Postgres { .. } => postgres::PostgresStore::check_url(url),
        config::Store::Redis { .. } | config::Store::RedisJwt(_) => {
            return check_redis_url(url);
        }
    };
    words_of(checked)
}

/// Why a URL cannot be one of a Redis, without its secrets.
pub(crate) fn check_redis_url(url: &str) -> Result<(), String> {
    words_of(redis::RedisStore::check_url(url))
}

fn words_of(checked: Result<(), StoreError>) -> Result<(), String> {
    match checked {
        Err(StoreError::Data(fault) | StoreError::Down(fault)) => Err(fault),
        Ok(()) | Err(StoreError::ReadOnly) => Ok(()),
    }
}
