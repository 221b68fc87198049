//! One provider: its metadata and keys, fetched at first use, again after an hour, and the keys also when they do not
//! verify a token. Decides when to fetch and how long a failure counts. A provider that is down only fails its own
//! logins. Must not know logins or tokens.

use super::OidcError;
use super::metadata::ProviderMetadata;
use super::provider_http::ProviderHttp;
use super::token_answer::ProviderClient;
use crate::config::OidcProvider;
use crate::core::clock::Clock;
use crate::core::jws::UnverifiedJws;
use crate::core::secret::Secret;
use crate::events::public_keys::{PublicKeys, SignatureFault};
use openidconnect::core::CoreJsonWebKeySet;
use openidconnect::url::{ParseError, Url};
use openidconnect::{AuthType, AuthUrl, ClientId, ClientSecret, IssuerUrl, TokenUrl};
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// Path of the metadata below the issuer (OpenID Connect Discovery 1.0 section 4).
const METADATA_PATH: &str = ".well-known/openid-configuration";
/// Age after which the metadata are fetched again.
const REFRESH_AFTER_MS: u64 = 3_600_000;
/// How long a failed fetch counts: callers that waited for it share its error instead of fetching again.
const FAILURE_TTL_MS: u64 = 1_000;
/// Minimum time between two fetches of the keys, so that tokens with invented key ids do not cause requests.
const MIN_KEY_FETCH_INTERVAL_MS: u64 = 10_000;

/// The provider's metadata and keys, with a client built from them.
pub(super) struct ProviderSnapshot {
    pub(super) metadata: ProviderMetadata,
    pub(super) client: ProviderClient,
    keys: PublicKeys,
    fetched_at_ms: u64,
    keys_fetched_at_ms: u64,
}

#[derive(Default)]
struct FetchState {
    failed: Option<(u64, OidcError)>,
    /// When the keys were last fetched alone, with or without success.
    keys_tried_at_ms: Option<u64>,
}

/// A configured provider.
pub(super) struct Provider {
    pub(super) config: OidcProvider,
    pub(super) http: ProviderHttp,
    clock: Arc<dyn Clock>,
    issuer: IssuerUrl,
    metadata_url: Url,
    secret: Option<ClientSecret>,
    snapshot: watch::Sender<Option<Arc<ProviderSnapshot>>>,
    /// The lock is held during a fetch, so that only one runs at a time.
    fetch_state: Mutex<FetchState>,
}

impl Provider {
    /// Requires a validated configuration. Makes no request.
    pub(super) fn new(
        config: OidcProvider,
        secret: Option<&Secret>,
        http: ProviderHttp,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OidcError> {
        let malformed = |e: ParseError| OidcError::InvalidResponse(format!("issuer: {e}"));
        let issuer = IssuerUrl::new(config.issuer.clone()).map_err(malformed)?;
        let metadata_url = issuer.join(METADATA_PATH).map_err(malformed)?;
        Ok(Self {
            issuer,
            metadata_url,
            secret: secret.map(|secret| ClientSecret::new(secret.reveal().to_owned())),
            config,
            http,
            clock,
            snapshot: watch::Sender::new(None),
            fetch_state: Mutex::default(),
        })
    }

    /// The current snapshot; fetches it if there is none or it is old.
    pub(super) async fn snapshot(&self) -> Result<Arc<ProviderSnapshot>, OidcError> {
        let current = self.snapshot.borrow().clone();
        if let Some(snapshot) = current {
            if self.age_ms(snapshot.fetched_at_ms) < REFRESH_AFTER_MS {
                return Ok(snapshot);
            }
            // The old snapshot stays in use while one caller fetches, so that nobody waits for a provider that is down.
            let Ok(mut fetching) = self.fetch_state.try_lock() else {
                return Ok(snapshot);
            };
            return Ok(self.fetch_metadata(&mut fetching).await.unwrap_or(snapshot));
        }
        let mut fetching = self.fetch_state.lock().await;
        let current = self.snapshot.borrow().clone();
        match current {
            Some(snapshot) => Ok(snapshot),
            None => self.fetch_metadata(&mut fetching).await,
        }
    }

    /// Verifies a signature with the provider's keys. Fetches these again once if they lack the token's key, or if it
    /// does not verify the token: the provider may have replaced it and kept its `kid`. The outer error means that
    /// newer keys are currently unavailable; the token may still be valid.
    pub(super) async fn check_signature(
        self: &Arc<Self>,
        snapshot: &Arc<ProviderSnapshot>,
        jws: &UnverifiedJws<'_>,
    ) -> Result<Result<(), SignatureFault>, OidcError> {
        let verdict = snapshot.keys.check_signature(jws);
        let is_final = match verdict {
            Ok(()) => true,
            Err(SignatureFault::UnknownKey) => false,
            Err(SignatureFault::Mismatch) => {
                self.age_ms(snapshot.keys_fetched_at_ms) < MIN_KEY_FETCH_INTERVAL_MS
            }
        };
        if is_final {
            return Ok(verdict);
        }
        let renewed = self.refresh_keys(snapshot).await?;
        Ok(renewed.keys.check_signature(jws))
    }

    async fn refresh_keys(
        self: &Arc<Self>,
        stale: &Arc<ProviderSnapshot>,
    ) -> Result<Arc<ProviderSnapshot>, OidcError> {
        // A separate task: if the caller is cancelled, the fetch still completes. Otherwise it would block the next
        // fetch (minimum interval) without a result.
        let renewal = tokio::spawn(self.clone().fetch_keys(stale.clone()));
        let renewed = renewal.await;
        renewed.unwrap_or_else(|e| Err(OidcError::Unreachable(e.to_string())))
    }

    async fn fetch_keys(
        self: Arc<Self>,
        stale: Arc<ProviderSnapshot>,
    ) -> Result<Arc<ProviderSnapshot>, OidcError> {
        let mut fetching = self.fetch_state.lock().await;
        let current = self.snapshot.borrow().clone();
        let newer = current.filter(|newer| !Arc::ptr_eq(newer, &stale));
        if let Some(snapshot) = newer {
            return Ok(snapshot);
        }
        let last = fetching.keys_tried_at_ms;
        if last.is_some_and(|tried_at| self.age_ms(tried_at) < MIN_KEY_FETCH_INTERVAL_MS) {
            let message = "its keys were just fetched";
            return Err(OidcError::Unreachable(message.to_owned()));
        }
        let now_ms = self.clock.now_ms();
        fetching.keys_tried_at_ms = Some(now_ms);
        let keys = self.request_keys(&stale.metadata).await;
        let keys = keys.inspect_err(|error| {
            tracing::warn!(provider = self.config.name, %error, "the provider's keys could not be fetched");
        })?;
        tracing::info!(
            provider = self.config.name,
            "fetched the provider's new keys"
        );
        Ok(self.publish(ProviderSnapshot {
            metadata: stale.metadata.clone(),
            client: self.build_client(&stale.metadata),
            keys,
            fetched_at_ms: stale.fetched_at_ms,
            keys_fetched_at_ms: now_ms,
        }))
    }

    async fn fetch_metadata(
        &self,
        fetching: &mut FetchState,
    ) -> Result<Arc<ProviderSnapshot>, OidcError> {
        if let Some((fetched_at, error)) = &fetching.failed
            && self.age_ms(*fetched_at) < FAILURE_TTL_MS
        {
            return Err(error.clone());
        }
        let snapshot = self.request_metadata().await;
        let snapshot = snapshot.inspect_err(|error| {
            tracing::warn!(provider = self.config.name, %error, "the provider's metadata could not be fetched");
        });
        match snapshot {
            Ok(snapshot) => {
                fetching.failed = None;
                Ok(self.publish(snapshot))
            }
            Err(error) => {
                fetching.failed = Some((self.clock.now_ms(), error.clone()));
                Err(error)
            }
        }
    }

    async fn request_metadata(&self) -> Result<ProviderSnapshot, OidcError> {
        let fields = self.http.get_object(&self.metadata_url, None).await;
        let fields = fields.map_err(|error| error.into_login_error("metadata"))?;
        let metadata = ProviderMetadata::parse(fields, &self.config.issuer)?;
        let keys = self.request_keys(&metadata).await?;
        let now_ms = self.clock.now_ms();
        Ok(ProviderSnapshot {
            client: self.build_client(&metadata),
            metadata,
            keys,
            fetched_at_ms: now_ms,
            keys_fetched_at_ms: now_ms,
        })
    }

    async fn request_keys(&self, metadata: &ProviderMetadata) -> Result<PublicKeys, OidcError> {
        let body = self.http.get(&metadata.jwks_uri, None).await;
        let body = body.map_err(|error| error.into_login_error("jwks_uri"))?;
        let keys = PublicKeys::parse(&body);
        keys.map_err(|error| OidcError::InvalidResponse(format!("jwks_uri: {error}")))
    }

    fn build_client(&self, metadata: &ProviderMetadata) -> ProviderClient {
        let auth_type = metadata.token_auth_type().unwrap_or_else(|error| {
            tracing::warn!(provider = self.config.name, %error, "the client authenticates by HTTP Basic");
            AuthType::BasicAuth
        });
        let id = ClientId::new(self.config.client_id.clone());
        // Without keys: the client builds requests, and `id_token` verifies the tokens.
        let client =
            openidconnect::Client::new(id, self.issuer.clone(), CoreJsonWebKeySet::default())
                .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()))
                .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone()))
                .set_auth_type(auth_type);
        match &self.secret {
            Some(secret) => client.set_client_secret(secret.clone()),
            None => client,
        }
    }

    fn publish(&self, snapshot: ProviderSnapshot) -> Arc<ProviderSnapshot> {
        let snapshot = Arc::new(snapshot);
        self.snapshot.send_replace(Some(snapshot.clone()));
        snapshot
    }

    /// Time since `at_ms`. A time in the future, after the clock was set back, counts as infinitely old.
    fn age_ms(&self, at_ms: u64) -> u64 {
        self.clock.now_ms().checked_sub(at_ms).unwrap_or(u64::MAX)
    }
}
