//! Reads the secrets that open the store and the ledger, and the keys that verify JWTs of another login service.

use super::{MIN_SECRET_BYTES, read_secret};
use crate::config::fault::{Fault, Faults};
use crate::config::{self, Algorithm, Store};
use crate::core::secret::Secret;
use crate::sessions::keys::{KeyError, MIN_HS256_BYTES};
use berth_store::StoreError;
use berth_store::postgres::PostgresStore;
use berth_store::redis::RedisStore;
use berth_store::redis_jwt::JwtKey;
use jsonwebtoken::{Algorithm as Jwa, DecodingKey};

/// The secrets that open the store.
#[derive(Debug)]
pub struct StoreSecrets {
    /// May contain a password.
    pub url: Option<Secret>,
    /// Verify the JWTs of the store `redis-jwt`.
    pub keys: Vec<JwtKey>,
    /// The secret of `tokens.key`, from which replicas without a shared store derive equal keys.
    pub seed: Option<Secret>,
}

/// Reads the secrets of the store, and no others.
pub fn fetch_store(
    config: &Store,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<StoreSecrets, Faults> {
    let path = "store.url";
    let url = config.url().map(|key| {
        let url = read_secret(path, key, env)?;
        let checked = check_url(config, url.reveal());
        checked.map_err(|fault| Fault::new(path, fault))?;
        Ok(url)
    });
    let mut faults = Vec::new();
    let url = url.transpose().unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let keys = match config {
        Store::RedisJwt(jwt) => jwt.keys.as_slice(),
        _ => &[],
    };
    let keys = read_jwt_keys("store.keys", keys, env, &mut faults);
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    Ok(StoreSecrets {
        url,
        keys,
        seed: None,
    })
}

/// The URL of the ledger.
pub(super) fn read_ledger_url(
    config: &config::Ledger,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Secret>, Fault> {
    let path = "placement.ledger.url";
    let url = config.url().map(|key| {
        let url = read_secret(path, key, env)?;
        let checked = check_redis_url(url.reveal());
        checked.map_err(|fault| Fault::new(path, fault))?;
        Ok(url)
    });
    url.transpose()
}

/// The keys that verify JWTs of another login service.
pub(super) fn read_jwt_keys(
    list: &str,
    keys: &[config::JwtKey],
    env: &dyn Fn(&str) -> Option<String>,
    faults: &mut Vec<Fault>,
) -> Vec<JwtKey> {
    let keys = keys.iter().enumerate().filter_map(|(index, key)| {
        read_jwt_key(&format!("{list}[{index}].key"), key, env)
            .map_err(|fault| faults.push(fault))
            .ok()
    });
    keys.collect()
}

fn read_jwt_key(
    path: &str,
    key: &config::JwtKey,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<JwtKey, Fault> {
    let text = read_secret(path, &key.key, env)?;
    let pem = text.reveal().as_bytes();
    if key.algorithm == Algorithm::Hs256 {
        check_length(pem.len(), key.allow_short_key).map_err(|fault| Fault::new(path, fault))?;
    }
    let (algorithm, decoding) = match key.algorithm {
        Algorithm::Hs256 => (Jwa::HS256, Ok(DecodingKey::from_secret(pem))),
        Algorithm::Rs256 => (Jwa::RS256, DecodingKey::from_rsa_pem(pem)),
        Algorithm::Es256 => (Jwa::ES256, DecodingKey::from_ec_pem(pem)),
        Algorithm::EdDsa => (Jwa::EdDSA, DecodingKey::from_ed_pem(pem)),
    };
    let not_one = format!("is not a public key for {algorithm:?} in PEM");
    Ok(JwtKey {
        algorithm,
        kid: key.kid.clone(),
        key: decoding.map_err(|_| Fault::new(path, not_one))?,
    })
}

/// Checks the length of a shared secret. Berth cannot replace the one with which another service signs.
fn check_length(bytes: usize, allow_short: bool) -> Result<(), String> {
    if allow_short && bytes < MIN_SECRET_BYTES {
        return Err(format!(
            "a secret needs {MIN_SECRET_BYTES} bytes or more, this one has {bytes}"
        ));
    }
    if allow_short || bytes >= MIN_HS256_BYTES {
        return Ok(());
    }
    let fault = KeyError::TooShort(bytes);
    Err(format!(
        "{fault}; allow_short_key accepts it while another service signs with it"
    ))
}

/// Checks a URL for this kind of store. The fault contains no secret of the URL.
fn check_url(config: &Store, url: &str) -> Result<(), String> {
    let checked = match config {
        Store::Sqlite { .. } => Ok(()),
        Store::Postgres { .. } => PostgresStore::check_url(url),
        Store::Redis { .. } | Store::RedisJwt(_) => {
            return check_redis_url(url);
        }
    };
    to_fault_text(checked)
}

/// Checks a URL of Redis. The fault contains no secret of the URL.
fn check_redis_url(url: &str) -> Result<(), String> {
    to_fault_text(RedisStore::check_url(url))
}

fn to_fault_text(checked: Result<(), StoreError>) -> Result<(), String> {
    match checked {
        Err(StoreError::Data(fault) | StoreError::Down(fault)) => Err(fault),
        Ok(()) | Err(StoreError::ReadOnly) => Ok(()),
    }
}
