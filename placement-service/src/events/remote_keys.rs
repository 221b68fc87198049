//! The public keys of an external signer: from the configuration, or from a URL, cached, and fetched again when they do
//! not verify a token. Decides when to fetch. Must not know what is signed.

use super::public_keys::{PublicKeys, SignatureFault};
use crate::core::http_client;
use crate::core::jws::UnverifiedJws;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, RwLock};
use tokio::time::Instant;

/// Timeout of one fetch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a JWK set in bytes.
const MAX_BYTES: usize = 256 * 1024;
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
