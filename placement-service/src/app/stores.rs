//! Opens the configured store. The only place that names every kind of store. Errors name the setting and the host, and
//! contain no secret.

use crate::app::secrets::StoreSecrets;
use crate::config::fault::Fault;
use crate::config::{self, Config};
use crate::core::secret::Secret;
use crate::sessions::server_keys::ServerKeys;
use berth_store::in_memory::InMemoryStore;
use berth_store::postgres::PostgresStore;
use berth_store::redis::RedisStore;
use berth_store::redis_jwt::{JwtRules, RedisJwtStore};
use berth_store::session_id::IdHash;
use berth_store::sqlite::SqliteStore;
use berth_store::{StoreError, Stores};
use std::sync::Arc;
use std::time::Duration;

/// Opens the store and migrates its tables.
///
/// # Errors
/// The setting that locates the store, its host, and why it cannot be opened.
pub async fn open(config: &Config, secrets: StoreSecrets) -> Result<Stores, Fault> {
    let host = secrets.url.as_ref().and_then(|url| host_of(url.reveal()));
    let opened = open_kind(config, secrets).await;
    opened.map_err(|error| open_fault(&config.store, host.as_deref(), &error))
}

async fn open_kind(config: &Config, secrets: StoreSecrets) -> Result<Stores, StoreError> {
    let url = secrets.url.as_ref().map_or("", Secret::reveal);
    let timeout = config.store.timeout();
    // Shorter than the timeout of the circuit breaker, so that the store reports its own timeout first.
    let limit = timeout.mul_f32(0.9);
    let stores = match &config.store {
        config::Store::Sqlite { path, .. } => {
            Stores::from_single(Arc::new(SqliteStore::open(path).await?))
        }
        config::Store::Postgres { .. } => {
            Stores::from_single(Arc::new(PostgresStore::open(url, limit).await?))
        }
        config::Store::Redis { prefix, .. } => {
            let store = RedisStore::open(url, prefix, limit).await?;
            Stores::from_single(Arc::new(store))
        }
        config::Store::RedisJwt(jwt) => redis_jwt(jwt, &config.session, secrets, limit).await?,
    };
    Ok(stores.with_circuit_breaker(timeout))
}

/// Sessions and accounts of another login service in Redis; events and coordination stay in memory.
async fn redis_jwt(
    config: &config::RedisJwt,
    session: &config::Session,
    secrets: StoreSecrets,
    limit: Duration,
) -> Result<Stores, StoreError> {
    let seed = secrets.seed.as_ref().map(|seed| seed.reveal().as_bytes());
    let memory = Arc::new(InMemoryStore::new(seed)?);
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
    let name_of = move |id: &IdHash| keys.session_ref(id);
    let store = RedisJwtStore::open(url, &config.prefix, rules, limit, name_of).await?;
    Ok(store.into_stores(memory))
}

/// The host and the port of a URL; `None` for a Unix socket.
fn host_of(url: &str) -> Option<String> {
    let url: reqwest::Url = url.parse().ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

fn open_fault(store: &config::Store, host: Option<&str>, error: &StoreError) -> Fault {
    let setting = match store {
        config::Store::Sqlite { .. } => "store.path",
        _ => "store.url",
    };
    let cause = match error {
        StoreError::Down(cause) | StoreError::Data(cause) => cause.clone(),
        StoreError::ReadOnly => error.to_string(),
    };
    match host {
        Some(host) => Fault::new(setting, format!("{host}: {cause}")),
        None => Fault::new(setting, cause),
    }
}
