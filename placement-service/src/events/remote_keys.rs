//! The public keys of an external signer: a JWK set (RFC 7517) from the configuration, or one that is fetched from a
//! URL, cached, and fetched again when a token names a key that is not in it, or its key does not verify the token. Decides
//! which key may verify which algorithm. Must not know what is signed.

use crate::core::http_client;
use crate::core::jws::UnverifiedJws;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
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

/// Why no key verifies a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    #[error("no key of that kid and alg is known")]
    UnknownKey,
    #[error("the signature does not verify")]
    Mismatch,
}

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

/// The members of a JWK that decide whether and how a key verifies. A fault in another member, such as `x5c`, does not
/// make a key unusable.
const USED_MEMBERS: [&str; 10] = [
    "kty", "use", "key_ops", "alg", "kid", "n", "e", "crv", "x", "y",
];

impl PublicKeys {
    /// Parses a JWK set. Ignores keys of an unknown kind, as [RFC 7517 section 5] requires, and symmetric keys: every
    /// reader of the set could sign with them.
    ///
    /// [RFC 7517 section 5]: https://www.rfc-editor.org/rfc/rfc7517#section-5
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let key_set: Map<String, Value> =
            serde_json::from_slice(text).map_err(|_| KeySetError::Malformed)?;
        let keys = key_set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or(KeySetError::Malformed)?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let keys = keys.iter().filter_map(read_key);
        let keys: Vec<Jwk> = keys.filter(is_for_signatures).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self(keys))
    }

    /// Verifies a signature with the keys of the token's `kid`, or without a `kid` with each key that can verify its
    /// algorithm.
    pub fn check_signature(&self, jws: &UnverifiedJws<'_>) -> Result<(), SignatureFault> {
        let message = jws.message.as_bytes();
        let mut fault = SignatureFault::UnknownKey;
        for key in self.candidates(jws.kid.as_deref(), jws.algorithm) {
            let outcome = jsonwebtoken::crypto::verify(jws.signature, message, &key, jws.algorithm);
            if outcome.unwrap_or(false) {
                return Ok(());
            }
            fault = SignatureFault::Mismatch;
        }
        Err(fault)
    }

    /// The keys with this id that can verify `algorithm`. Signers that replace a key and keep its id may publish both.
    fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = DecodingKey> + 'a {
        let matches_kid = move |key: &&Jwk| kid.is_none() || key.common.key_id.as_deref() == kid;
        let keys = self.0.iter().filter(matches_kid);
        let fitting = keys.filter(move |key| can_verify(key, algorithm));
        fitting.filter_map(|key| DecodingKey::from_jwk(key).ok())
    }
}

fn read_key(value: &Value) -> Option<Jwk> {
    let mut members = value.as_object()?.clone();
    members.retain(|name, _| USED_MEMBERS.contains(&name.as_str()));
    serde_json::from_value(Value::Object(members)).ok()
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

    /// Verifies a signature with the signer's current keys. A set that lacks the key, or whose key does not verify the
    /// signature, is fetched again once: the signer may have changed its keys, even under the same `kid`.
    ///
    /// # Errors
    /// When no current set is available. Also when the cached set may be outdated and was not fetched again for this
    /// token.
    pub async fn check_signature(
        &self,
        jws: &UnverifiedJws<'_>,
    ) -> Result<Result<(), SignatureFault>, KeysUnavailable> {
        let fetched = match &self.0 {
            KeySource::Static(keys) => return Ok(keys.check_signature(jws)),
            KeySource::Url(fetched) => fetched,
        };
        let verdict = fetched.check_signature(jws, REFRESH_AFTER).await;
        let is_final = match verdict {
            Ok(Ok(())) => true,
            Ok(Err(SignatureFault::Mismatch)) => fetched.is_younger_than(MIN_FETCH_INTERVAL).await,
            Ok(Err(SignatureFault::UnknownKey)) | Err(KeysUnavailable) => false,
        };
        if is_final {
            return verdict;
        }
        let lookup_started = Instant::now();
        // A separate task: if the caller is cancelled, the fetch still completes. Otherwise it would block the next
        // fetch (minimum interval) without a result.
        let refresh = tokio::spawn(fetched.clone().refresh());
        if let Err(error) = refresh.await {
            tracing::error!(%error, "fetching keys failed");
        }
        match fetched.check_signature(jws, MAX_STALE).await {
            Ok(Err(_)) if !fetched.is_fetched_since(lookup_started).await => Err(KeysUnavailable),
            result => result,
        }
    }
}

impl KeySetCache {
    /// Verifies a signature with the cached set, if the set is younger than `limit`.
    async fn check_signature(
        &self,
        jws: &UnverifiedJws<'_>,
        limit: Duration,
    ) -> Result<Result<(), SignatureFault>, KeysUnavailable> {
        match self.cached.read().await.as_ref() {
            Some(cached) if cached.fetched_at.elapsed() < limit => {
                Ok(cached.keys.check_signature(jws))
            }
            _ => Err(KeysUnavailable),
        }
    }

    async fn is_younger_than(&self, limit: Duration) -> bool {
        let cached = self.cached.read().await;
        cached
            .as_ref()
            .is_some_and(|cached| cached.fetched_at.elapsed() < limit)
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
