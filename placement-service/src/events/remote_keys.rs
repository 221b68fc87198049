//! The public keys of an external signer: a JWK set (RFC 7517) from the configuration, or one that is fetched from a
//! URL, cached, and fetched again when a token names a key that is not in it. Decides which key may verify which
//! algorithm. Must not know what is signed.

use crate::core::http_client;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, RwLock};
use tokio::time::Instant;

/// Timeout of one fetch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a JWK set in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Maximum number of keys in a JWK set.
const MAX_KEYS: usize = 100;
/// Minimum time between two fetches, so that tokens with invented key ids do not cause requests.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(30);
/// A set of this age is fetched again, so that withdrawn keys are removed.
const REFRESH_AFTER: Duration = Duration::from_secs(600);
/// Maximum age of a cached set that is still used when fetching it again fails.
const MAX_STALE: Duration = Duration::from_secs(24 * 3600);

/// No current key set is available. This is not the fault of the token: a later attempt may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys cannot be fetched")]
pub struct KeysUnavailable;

/// Why a text is rejected as a JWK set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("not a JWK set (RFC 7517)")]
    Malformed,
    #[error("a JWK set of more than {MAX_KEYS} keys")]
    TooMany,
    #[error("a JWK set without a public key for signatures")]
    NoUsableKey,
}

/// Public keys for signatures. Keys of other kinds are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicKeys(Vec<Jwk>);

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

impl PublicKeys {
    /// Parses a JWK set. Ignores keys of an unknown kind, as [RFC 7517 section 5] requires, and symmetric keys: every
    /// reader of the set could sign with them.
    ///
    /// [RFC 7517 section 5]: https://www.rfc-editor.org/rfc/rfc7517#section-5
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let key_set: RawSet = serde_json::from_slice(text).map_err(|_| KeySetError::Malformed)?;
        if key_set.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let keys = key_set.keys.into_iter();
        let keys = keys.filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<Jwk> = keys.filter(is_for_signatures).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self(keys))
    }

    /// The key with this id that can verify `algorithm`. Without a `kid`, the only key that can verify it, if there is
    /// exactly one.
    #[must_use]
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let matches_kid = |key: &&Jwk| kid.is_none() || key.common.key_id.as_deref() == kid;
        let mut fitting = self
            .0
            .iter()
            .filter(matches_kid)
            .filter(|key| can_verify(key, algorithm));
        let key = fitting.next()?;
        if kid.is_none() && fitting.next().is_some() {
            return None;
        }
        DecodingKey::from_jwk(key).ok()
    }
}

/// Whether a key is a public key for signatures. A symmetric key is not: `has_valid_size` rejects it.
fn is_for_signatures(key: &Jwk) -> bool {
    let operations = key.common.key_operations.as_ref();
    let may_verify =
        operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let key_use = key.common.public_key_use.as_ref();
    may_verify
        && key_use.is_none_or(|key_use| *key_use == PublicKeyUse::Signature)
        && has_valid_size(key)
}

/// Whether a key has the size that its type requires. jsonwebtoken panics on an Ed25519 key that is too short. An
/// unlimited RSA key would make a verification take unlimited time, so RSA keys have 2048 to 8192 bits and an exponent
/// of at most 4 bytes.
fn has_valid_size(key: &Jwk) -> bool {
    let bytes = |base64url: &str| base64url.len() * 3 / 4;
    match &key.algorithm {
        AlgorithmParameters::RSA(key) => {
            (256..=1024).contains(&bytes(&key.n)) && (1..=4).contains(&bytes(&key.e))
        }
        AlgorithmParameters::EllipticCurve(key) => {
            let size = match key.curve {
                EllipticCurve::P256 => 32,
                EllipticCurve::P384 => 48,
                _ => return false,
            };
            bytes(&key.x) == size && bytes(&key.y) == size
        }
        AlgorithmParameters::OctetKeyPair(key) => {
            key.curve == EllipticCurve::Ed25519 && bytes(&key.x) == 32
        }
        _ => false,
    }
}

/// Whether a key can verify `algorithm`, by its type, its curve and its own `alg` if it has one.
fn can_verify(key: &Jwk, algorithm: Algorithm) -> bool {
    let by_type = match (&key.algorithm, algorithm) {
        (
            AlgorithmParameters::RSA(_),
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512,
        ) => true,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
            key.curve == EllipticCurve::P256
        }
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => {
            key.curve == EllipticCurve::P384
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            key.curve == EllipticCurve::Ed25519
        }
        _ => false,
    };
    let declared_algorithm = key.common.key_algorithm;
    by_type
        && declared_algorithm
            .is_none_or(|declared_algorithm| declared_algorithm == KeyAlgorithm::from(algorithm))
}

/// The keys of one signer, from the configuration or from a URL.
pub struct RemoteKeys(KeySource);

enum KeySource {
    Static(PublicKeys),
    Url(Arc<KeySetCache>),
}

struct KeySetCache {
    url: String,
    client: reqwest::Client,
    cached: RwLock<Option<CachedKeySet>>,
    /// Start of the last fetch. The lock is held during a fetch, so that only one runs at a time.
    last_fetch: Mutex<Option<Instant>>,
}

struct CachedKeySet {
    keys: PublicKeys,
    fetched_at: Instant,
}

impl RemoteKeys {
    /// Uses these keys; never fetches.
    #[must_use]
    pub const fn from_keys(keys: PublicKeys) -> Self {
        Self(KeySource::Static(keys))
    }

    /// Uses the keys at a URL; fetches them at the first lookup.
    pub fn from_url(url: String) -> Result<Self, reqwest::Error> {
        Ok(Self(KeySource::Url(Arc::new(KeySetCache {
            url,
            client: http_client::client_builder().timeout(TIMEOUT).build()?,
            cached: RwLock::default(),
            last_fetch: Mutex::default(),
        }))))
    }

    /// The key with this id that can verify `algorithm`; `None` when the signer's current set has no such key.
    ///
    /// # Errors
    /// When no current set is available. Also when the cached set lacks the key and it was not fetched again for this
    /// lookup: the signer may have changed its keys in the meantime.
    pub async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<DecodingKey>, KeysUnavailable> {
        let fetched = match &self.0 {
            KeySource::Static(keys) => return Ok(keys.find(kid, algorithm)),
            KeySource::Url(fetched) => fetched,
        };
        if let Ok(Some(key)) = fetched.find_cached(kid, algorithm, REFRESH_AFTER).await {
            return Ok(Some(key));
        }
        let lookup_started = Instant::now();
        // A separate task: if the caller is cancelled, the fetch still completes. Otherwise it would block the next
        // fetch (minimum interval) without a result.
        let refresh = tokio::spawn(fetched.clone().refresh());
        if let Err(error) = refresh.await {
            tracing::error!(%error, "fetching keys failed");
        }
        match fetched.find_cached(kid, algorithm, MAX_STALE).await {
            Ok(None) if !fetched.is_fetched_since(lookup_started).await => Err(KeysUnavailable),
            result => result,
        }
    }
}

impl KeySetCache {
    /// Looks up a key in the cached set, if the set is younger than `limit`.
    async fn find_cached(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        limit: Duration,
    ) -> Result<Option<DecodingKey>, KeysUnavailable> {
        match self.cached.read().await.as_ref() {
            Some(cached) if cached.fetched_at.elapsed() < limit => {
                Ok(cached.keys.find(kid, algorithm))
            }
            _ => Err(KeysUnavailable),
        }
    }

    /// Whether the cached set was fetched at `time` or later.
    async fn is_fetched_since(&self, time: Instant) -> bool {
        let cached = self.cached.read().await;
        cached
            .as_ref()
            .is_some_and(|cached| cached.fetched_at >= time)
    }

    /// Fetches the set, unless the last fetch started less than the minimum interval ago.
    async fn refresh(self: Arc<Self>) {
        let mut last_fetch = self.last_fetch.lock().await;
        if last_fetch.is_some_and(|last_fetch| last_fetch.elapsed() < MIN_FETCH_INTERVAL) {
            return;
        }
        *last_fetch = Some(Instant::now());
        match fetch(&self.client, &self.url).await {
            Ok(keys) => {
                let started_at = Instant::now();
                *self.cached.write().await = Some(CachedKeySet {
                    keys,
                    fetched_at: started_at,
                });
            }
            Err(error) => tracing::warn!(url = self.url, error, "keys cannot be fetched"),
        }
    }
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<PublicKeys, String> {
    let cause = |error: reqwest::Error| http_client::root_cause(&error);
    let response = client.get(url).send().await.map_err(cause)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("status {}", response.status().as_u16()));
    }
    match http_client::read_body(response, MAX_BYTES)
        .await
        .map_err(cause)?
    {
        Some(body) => PublicKeys::parse(&body).map_err(|e| e.to_string()),
        None => Err(format!("more than {MAX_BYTES} bytes")),
    }
}

#[cfg(test)]
mod tests;
