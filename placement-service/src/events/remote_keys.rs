//! The public keys of somebody who signs for us to verify: a JWK set (RFC 7517) that is given, or one that is
//! fetched by URL, kept, and fetched again when a token names a key that is not in it. Decides which key may
//! verify which algorithm; knows nothing of what is signed.

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

/// How long a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// More than any set of keys needs, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// More than any set of keys needs.
const MAX_KEYS: usize = 100;
/// The least time between two fetches, whatever tokens claim.
const PAUSE: Duration = Duration::from_secs(30);
/// From this age on a set is fetched again, so that keys that were withdrawn go.
const FRESH: Duration = Duration::from_secs(600);
/// Up to this age a set that cannot be fetched again still serves.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// Why no key can be looked up just now. Not the token's fault: trying later may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys cannot be fetched")]
pub struct KeysUnavailable;

/// A text that is not a JWK set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKeys {
    #[error("not a JWK set (RFC 7517)")]
    Form,
    #[error("a JWK set of more than {MAX_KEYS} keys")]
    TooMany,
    #[error("a JWK set without a public key for signatures")]
    NoneUsable,
}

/// Public keys for signatures; those of other kinds have been left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicKeys(Vec<Jwk>);

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

impl PublicKeys {
    /// Reads a JWK set. Keys of an unknown kind are left out, as RFC 7517 section 5 wants; shared secrets are
    /// too: whoever may read the set could sign with them.
    pub fn parse(text: &[u8]) -> Result<Self, NotKeys> {
        let set: RawSet = serde_json::from_slice(text).map_err(|_| NotKeys::Form)?;
        if set.keys.len() > MAX_KEYS {
            return Err(NotKeys::TooMany);
        }
        let keys = set.keys.into_iter();
        let keys = keys.filter_map(|key| serde_json::from_value(key).ok());
        let keys: Vec<Jwk> = keys.filter(is_for_signatures).collect();
        if keys.is_empty() {
            return Err(NotKeys::NoneUsable);
        }
        Ok(Self(keys))
    }

    /// The key of that name that fits the algorithm. A token that names none is served when only one key fits.
    #[must_use]
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
        let named = |key: &&Jwk| kid.is_none() || key.common.key_id.as_deref() == kid;
        let mut fitting = self
            .0
            .iter()
            .filter(named)
            .filter(|key| fits(key, algorithm));
        let key = fitting.next()?;
        if kid.is_none() && fitting.next().is_some() {
            return None;
        }
        DecodingKey::from_jwk(key).ok()
    }
}

/// A public key that may sign. A shared secret has no valid size.
fn is_for_signatures(key: &Jwk) -> bool {
    let operations = key.common.key_operations.as_ref();
    let may_verify = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
    let of_use = key.common.public_key_use.as_ref();
    may_verify
        && of_use.is_none_or(|of_use| *of_use == PublicKeyUse::Signature)
        && has_valid_size(key)
}

/// Whether a key is as large as its kind wants it. jsonwebtoken panics on an Ed25519 key that is too short, and an RSA
/// key of any size makes a verification take any time: 2048 to 8192 bits, and an exponent of the usual size.
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

/// Whether a key may verify that algorithm: by its type, its curve, and its own `alg` if it has one.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
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
    let own = key.common.key_algorithm;
    by_type && own.is_none_or(|own| own == KeyAlgorithm::from(algorithm))
}

/// Keys that are given, or found at a URL.
pub struct RemoteKeys(Source);

enum Source {
    Given(PublicKeys),
    Fetched(Arc<Fetched>),
}

struct Fetched {
    url: String,
    client: reqwest::Client,
    kept: RwLock<Option<Kept>>,
    /// When the last fetch began. Whoever fetches holds it, so that one does.
    last: Mutex<Option<Instant>>,
}

struct Kept {
    keys: PublicKeys,
    since: Instant,
}

impl RemoteKeys {
    /// These keys and no others.
    #[must_use]
    pub const fn given(keys: PublicKeys) -> Self {
        Self(Source::Given(keys))
    }

    /// The keys at a URL; fetched when they are first asked for.
    pub fn at(url: String) -> Result<Self, reqwest::Error> {
        Ok(Self(Source::Fetched(Arc::new(Fetched {
            url,
            client: http_client::client().timeout(TIMEOUT).build()?,
            kept: RwLock::default(),
            last: Mutex::default(),
        }))))
    }

    /// The key of that name for that algorithm; `None` when there is none, as the signer says now.
    ///
    /// # Errors
    /// When the set cannot be had; also when a key is unknown and the set was not fetched for it: the signer may have
    /// changed its keys since.
    pub async fn find(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Option<DecodingKey>, KeysUnavailable> {
        let fetched = match &self.0 {
            Source::Given(keys) => return Ok(keys.find(kid, algorithm)),
            Source::Fetched(fetched) => fetched,
        };
        if let Ok(Some(key)) = fetched.serve(kid, algorithm, FRESH).await {
            return Ok(Some(key));
        }
        let asked = Instant::now();
        // A task of its own: whoever asks may go away, and the fetch would count and bring nothing.
        let refresh = tokio::spawn(fetched.clone().refresh());
        if let Err(error) = refresh.await {
            tracing::error!(%error, "fetching keys failed");
        }
        match fetched.serve(kid, algorithm, STALE).await {
            Ok(None) if !fetched.is_since(asked).await => Err(KeysUnavailable),
            found => found,
        }
    }
}

impl Fetched {
    /// A key of a set that is not older than that.
    async fn serve(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        limit: Duration,
    ) -> Result<Option<DecodingKey>, KeysUnavailable> {
        match self.kept.read().await.as_ref() {
            Some(kept) if kept.since.elapsed() < limit => Ok(kept.keys.find(kid, algorithm)),
            _ => Err(KeysUnavailable),
        }
    }

    /// Whether the set came then or later.
    async fn is_since(&self, then: Instant) -> bool {
        let kept = self.kept.read().await;
        kept.as_ref().is_some_and(|kept| kept.since >= then)
    }

    /// Fetches the set, unless somebody has just done so.
    async fn refresh(self: Arc<Self>) {
        let mut last = self.last.lock().await;
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        *last = Some(Instant::now());
        match fetch(&self.client, &self.url).await {
            Ok(keys) => {
                let since = Instant::now();
                *self.kept.write().await = Some(Kept { keys, since });
            }
            Err(why) => tracing::warn!(url = self.url, why, "keys cannot be fetched"),
        }
    }
}

async fn fetch(client: &reqwest::Client, url: &str) -> Result<PublicKeys, String> {
    let cause = |error: reqwest::Error| http_client::cause(&error);
    let response = client.get(url).send().await.map_err(cause)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("status {}", response.status().as_u16()));
    }
    match http_client::body(response, MAX_BYTES)
        .await
        .map_err(cause)?
    {
        Some(body) => PublicKeys::parse(&body).map_err(|e| e.to_string()),
        None => Err(format!("more than {MAX_BYTES} bytes")),
    }
}

#[cfg(test)]
mod tests;
