//! One provider: its metadata and keys, fetched at first use, again after an hour, and the keys also when a token names
//! an unknown key. Decides when to fetch and how long a failure counts. A provider that is down only fails its own
//! logins. Must not know logins or tokens.

use super::OidcError;
use super::provider_http::{ProviderHttp, ProviderHttpError};
use crate::config::{OidcProvider, is_https_or_loopback};
use crate::core::clock::Clock;
use crate::core::secret::Secret;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreClaimName, CoreClaimType, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreGrantType, CoreJsonWebKey, CoreJsonWebKeySet,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm,
    CoreResponseMode, CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreSubjectIdentifierType, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AdditionalClaims, AdditionalProviderMetadata, AuthType, Client, ClientId, ClientSecret,
    DiscoveryError, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    IdTokenFields, IssuerUrl, LogoutProviderMetadata, ProviderMetadata, StandardErrorResponse,
    StandardTokenResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

/// Age after which the metadata are fetched again.
const REFRESH_AFTER_MS: u64 = 3_600_000;
/// How long a failed fetch counts: callers that waited for it share its error instead of fetching again.
const FAILURE_TTL_MS: u64 = 1_000;
/// Minimum time between two fetches of the keys, so that tokens with invented key ids do not cause requests.
const MIN_KEY_FETCH_INTERVAL_MS: u64 = 10_000;

/// Claims beyond those that OpenID Connect Core defines.
#[derive(Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct FurtherClaims(pub(super) Map<String, Value>);
impl AdditionalClaims for FurtherClaims {}

/// Metadata of RFC 9207: whether callbacks have the `iss` parameter.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct IssuerParameter {
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}
impl AdditionalProviderMetadata for IssuerParameter {}

pub(super) type Metadata = ProviderMetadata<
    LogoutProviderMetadata<IssuerParameter>,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type Tokens = StandardTokenResponse<
    IdTokenFields<
        FurtherClaims,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

pub(super) type ProviderClient = Client<
    FurtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// The provider's metadata and keys from one fetch, with a client built from them.
pub(super) struct ProviderSnapshot {
    pub(super) metadata: Metadata,
    pub(super) client: ProviderClient,
    fetched_at_ms: u64,
}

#[derive(Default)]
struct FetchState {
    failed: Option<(u64, OidcError)>,
    keys_fetched_at_ms: Option<u64>,
}

/// A configured provider.
pub(super) struct Provider {
    pub(super) config: OidcProvider,
    pub(super) http: ProviderHttp,
    clock: Arc<dyn Clock>,
    issuer: IssuerUrl,
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
        let issuer = IssuerUrl::new(config.issuer.clone());
        Ok(Self {
            issuer: issuer.map_err(|e| OidcError::InvalidResponse(e.to_string()))?,
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

    /// A snapshot with newer keys, for a token whose key is not in `stale`. The error means that newer keys are
    /// currently unavailable; the token may still be valid.
    pub(super) async fn refresh_keys(
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
        let last = fetching.keys_fetched_at_ms;
        if last.is_some_and(|fetched_at| self.age_ms(fetched_at) < MIN_KEY_FETCH_INTERVAL_MS) {
            let message = "its keys were just fetched";
            return Err(OidcError::Unreachable(message.to_owned()));
        }
        let snapshot = stale;
        fetching.keys_fetched_at_ms = Some(self.clock.now_ms());
        let keys = CoreJsonWebKeySet::fetch_async(snapshot.metadata.jwks_uri(), &self.http).await;
        match keys {
            Ok(keys) => {
                tracing::info!(
                    provider = self.config.name,
                    "fetched the provider's new keys"
                );
                let metadata = snapshot.metadata.clone().set_jwks(keys);
                Ok(self.publish(metadata, snapshot.fetched_at_ms))
            }
            Err(error) => {
                let error = discovery_error(error);
                tracing::warn!(provider = self.config.name, %error, "the provider's keys could not be fetched");
                Err(error)
            }
        }
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
        let metadata = Metadata::discover_async(self.issuer.clone(), &self.http).await;
        let metadata = metadata.map_err(discovery_error).and_then(check_urls);
        let now_ms = self.clock.now_ms();
        match metadata {
            Ok(metadata) => {
                fetching.failed = None;
                Ok(self.publish(metadata, now_ms))
            }
            Err(error) => {
                tracing::warn!(provider = self.config.name, %error, "the provider's metadata could not be fetched");
                fetching.failed = Some((now_ms, error.clone()));
                Err(error)
            }
        }
    }

    fn publish(&self, metadata: Metadata, fetched_at_ms: u64) -> Arc<ProviderSnapshot> {
        let id = ClientId::new(self.config.client_id.clone());
        let client =
            ProviderClient::from_provider_metadata(metadata.clone(), id, self.secret.clone());
        let methods = metadata.token_endpoint_auth_methods_supported();
        let in_body = methods.is_some_and(|methods| {
            !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
                && methods.contains(&CoreClientAuthMethod::ClientSecretPost)
        });
        let auth_type = if in_body {
            AuthType::RequestBody
        } else {
            AuthType::BasicAuth
        };
        let snapshot = Arc::new(ProviderSnapshot {
            metadata,
            client: client.set_auth_type(auth_type),
            fetched_at_ms,
        });
        self.snapshot.send_replace(Some(snapshot.clone()));
        snapshot
    }

    /// Time since `at_ms`. A time in the future, after the clock was set back, counts as infinitely old.
    fn age_ms(&self, at_ms: u64) -> u64 {
        self.clock.now_ms().checked_sub(at_ms).unwrap_or(u64::MAX)
    }
}

/// Rejects metadata with URLs that would send a browser or a secret over plain HTTP.
fn check_urls(metadata: Metadata) -> Result<Metadata, OidcError> {
    let extra_metadata = metadata.additional_metadata();
    let end_session_endpoint = extra_metadata.end_session_endpoint.as_ref();
    let urls = [
        Some(metadata.authorization_endpoint().url()),
        metadata.token_endpoint().map(|url| url.url()),
        metadata.userinfo_endpoint().map(|url| url.url()),
        end_session_endpoint.map(|url| url.url()),
    ];
    let plain = urls
        .into_iter()
        .flatten()
        .find(|url| !is_https_or_loopback(url));
    if let Some(url) = plain {
        return Err(OidcError::InvalidResponse(format!("{url} is not https")));
    }
    Ok(metadata)
}

fn discovery_error(error: DiscoveryError<ProviderHttpError>) -> OidcError {
    match error {
        DiscoveryError::Request(fault) => OidcError::Unreachable(fault.to_string()),
        DiscoveryError::Response(status, _, _) if status.is_server_error() => {
            OidcError::Unreachable(format!("status {status}"))
        }
        DiscoveryError::Response(_, _, message) => OidcError::InvalidResponse(message),
        DiscoveryError::Parse(error) => OidcError::InvalidResponse(error.to_string()),
        error => OidcError::InvalidResponse(error.to_string()),
    }
}
