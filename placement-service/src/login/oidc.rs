//! OpenID providers: login with the authorization code flow, logout at the provider, and back-channel logout from the
//! provider. Decides the order of the steps; the submodules do each step. Must not know HTTP beyond the URLs, queries
//! and cookie values of the protocol.

mod account;
pub mod back_channel;
mod claim_path;
pub mod claims;
mod error;
mod flow;
mod id_token;
mod login_state;
mod metadata;
mod provider;
mod provider_http;
mod registered_claims;
mod token_answer;

pub use error::OidcError;
pub use flow::Callback;
pub use login_state::{LOGIN_STATE_TTL_MS, LoginState};

use crate::config::OidcProvider;
use crate::core::aead::SealingKeys;
use crate::core::clock::Clock;
use crate::core::log_sampler::LogSampler;
use crate::core::return_to::ReturnTo;
use crate::core::secret::Secret;
use crate::sessions::{NewSession, Sessions, run_detached, store_down};
use back_channel::{LogoutClaims, LogoutFault, LogoutToken};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_store::{Coordination, EndCause, ProviderLink, StoreError};
use openidconnect::{ClientId, CsrfToken, EndSessionUrl, LogoutRequest, PostLogoutRedirectUrl};
use provider::{Provider, ProviderSnapshot};
use provider_http::ProviderHttp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Maximum size of an ID token used as logout hint; a longer one would make the logout URL too long.
const MAX_HINT_BYTES: usize = 6 * 1024;
const HINT_PURPOSE: &str = "logout hint";
/// The `state` of a logout at the provider, which the provider appends to the URL of the login page.
pub const LOGGED_OUT_STATE: &str = "logged-out";

/// Redirect to the provider's login page, with the cookie to set.
pub struct AuthorizationRedirect {
    pub location: String,
    /// Value of the login state cookie.
    pub cookie: String,
    /// The `state` parameter, which the callback returns. It is part of the cookie's name.
    pub state: String,
}

/// A callback that matches the login state cookie of this browser.
pub struct LoginCallback<'a> {
    provider: &'a Arc<Provider>,
    login_state: LoginState,
    callback: Callback,
}

impl LoginCallback<'_> {
    /// Where the browser goes after the login.
    #[must_use]
    pub fn return_to(&self) -> Option<ReturnTo> {
        self.login_state.return_to()
    }
}

/// Why a logout token was not processed.
#[derive(Debug)]
pub enum BackChannelError {
    /// The token is invalid.
    Token(LogoutFault),
    /// The provider or this service failed; the provider may send the same token again.
    Failed(OidcError),
}

/// Login and logout with the configured providers.
pub struct Oidc {
    providers: Vec<Arc<Provider>>,
    keys: SealingKeys,
    sessions: Arc<Sessions>,
    shared: Arc<dyn Coordination>,
    clock: Arc<dyn Clock>,
    /// Limits log lines about invalid logout tokens, which any client can send.
    refused_logouts: LogSampler,
}

impl Oidc {
    /// Requires a validated configuration. `secrets` has one element per provider, in the same order.
    pub fn new(
        providers: &[OidcProvider],
        secrets: &[Option<Secret>],
        keys: SealingKeys,
        sessions: Arc<Sessions>,
        coordination: Arc<dyn Coordination>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OidcError> {
        let failed = |e: reqwest::Error| OidcError::Unreachable(e.to_string());
        let http = ProviderHttp::new().map_err(failed)?;
        let built = providers.iter().zip(secrets).map(|(config, secret)| {
            Provider::new(config.clone(), secret.as_ref(), http.clone(), clock.clone())
                .map(Arc::new)
        });
        Ok(Self {
            providers: built.collect::<Result<_, _>>()?,
            keys,
            sessions,
            shared: coordination,
            clock,
            refused_logouts: LogSampler::new("back-channel-refused"),
        })
    }

    /// The same with other providers. Logins that have begun continue.
    pub fn with_providers(
        &self,
        providers: &[OidcProvider],
        secrets: &[Option<Secret>],
    ) -> Result<Self, OidcError> {
        Self::new(
            providers,
            secrets,
            self.keys.clone(),
            self.sessions.clone(),
            self.shared.clone(),
            self.clock.clone(),
        )
    }

    /// Starts a login. `origin` is the origin of this site in the browser.
    pub async fn begin_login(
        &self,
        name: &str,
        origin: &str,
        return_to: Option<&ReturnTo>,
    ) -> Result<AuthorizationRedirect, OidcError> {
        let provider = self.provider(name)?;
        let redirect_uri = format!("{origin}/login/oidc/{name}/callback");
        let return_to = return_to.map(|path| path.as_str().to_owned());
        let now_ms = self.clock.now_ms();
        let (url, login_state) =
            flow::build_authorization_request(provider, redirect_uri, return_to, now_ms).await?;
        let cookie = login_state
            .seal(&self.keys)
            .ok_or(OidcError::StateInvalid)?;
        Ok(AuthorizationRedirect {
            location: url.into(),
            cookie,
            state: login_state.state,
        })
    }

    /// Checks that the callback's query matches the login state cookie. Calls neither the provider nor the store, so
    /// that invalid callbacks are cheap.
    pub fn verify_callback(
        &self,
        name: &str,
        query: &str,
        cookie: Option<&str>,
    ) -> Result<LoginCallback<'_>, OidcError> {
        let provider = self.provider(name)?;
        let callback = Callback::parse(query)?;
        let cookie = cookie.ok_or(OidcError::StateMissing)?;
        let login_state = LoginState::open(&self.keys, cookie, name, self.clock.now_ms())?;
        let state = callback.state.as_deref().unwrap_or_default();
        if !bool::from(state.as_bytes().ct_eq(login_state.state.as_bytes())) {
            return Err(OidcError::StateMismatch);
        }
        Ok(LoginCallback {
            provider,
            login_state,
            callback,
        })
    }

    /// Completes a login: redeems the code and maps the claims to a new session.
    pub async fn complete_login(
        &self,
        callback: LoginCallback<'_>,
    ) -> Result<NewSession, OidcError> {
        let LoginCallback {
            provider,
            login_state,
            callback,
        } = callback;
        let snapshot = provider.snapshot().await?;
        flow::check_issuer(provider, &snapshot, &callback)?;
        let now_ms = self.clock.now_ms();
        // Store only the digest: values from cookies are never stored.
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&login_state.state));
        let key = format!("login-state:{digest}");
        let expiry_ms = login_state.began_at_ms.saturating_add(LOGIN_STATE_TTL_MS);
        let first = self.shared.claim(&key, now_ms, expiry_ms).await;
        if !first.map_err(|e| store_down(&e))? {
            return Err(OidcError::Replayed);
        }
        match callback.error.as_deref() {
            Some("access_denied") => return Err(OidcError::Denied),
            Some(error) => return Err(OidcError::ProviderRefused(sanitize_error_code(error))),
            None => {}
        }
        let code = callback
            .code
            .ok_or(OidcError::MalformedCallback("code is missing"))?;
        let verified = flow::redeem_code(provider, snapshot, &login_state, code, now_ms).await?;
        let user = claims::map_claims(&provider.config, &verified.claims)?;
        let session = verified.claims.get("sid").and_then(Value::as_str);
        let hint = Some(verified.id_token).filter(|token| token.len() <= MAX_HINT_BYTES);
        Ok(NewSession {
            account: user.account,
            display_name: user.display_name,
            roles: user.roles,
            claims: user.claims,
            provider: Some(ProviderLink {
                provider: provider.config.name.clone(),
                subject: verified.subject,
                session: session.map(str::to_owned),
                logout_hint: hint.and_then(|token| self.keys.seal(HINT_PURPOSE, token.as_bytes())),
            }),
            ..NewSession::default()
        })
    }

    /// The configured provider name that equals `name`, which comes from a URL path and can be anything.
    #[must_use]
    pub fn configured_name(&self, name: &str) -> Option<&str> {
        let provider = self.provider(name).ok()?;
        Some(&provider.config.name)
    }

    /// URL of the provider's logout page for a session; `None` when the provider has none or is unreachable.
    pub async fn logout_url(&self, link: &ProviderLink, origin: &str) -> Option<String> {
        let provider = self.provider(&link.provider).ok()?;
        let snapshot = provider.snapshot().await.ok()?;
        let endpoint = snapshot.metadata.end_session_endpoint();
        let endpoint = endpoint.inspect_err(|error| {
            tracing::warn!(provider = link.provider, %error, "the logout is local");
        });
        let return_url = PostLogoutRedirectUrl::new(format!("{origin}/login")).ok()?;
        let request = LogoutRequest::from(EndSessionUrl::from_url(endpoint.ok()??))
            .set_client_id(ClientId::new(provider.config.client_id.clone()))
            .set_post_logout_redirect_uri(return_url)
            .set_state(CsrfToken::new(LOGGED_OUT_STATE.to_owned()));
        let mut url = request.http_get_url();
        let hint = link.logout_hint.as_deref();
        let hint = hint.and_then(|sealed| self.keys.open(HINT_PURPOSE, sealed));
        if let Some(hint) = hint.and_then(|hint| String::from_utf8(hint).ok()) {
            url.query_pairs_mut().append_pair("id_token_hint", &hint);
        }
        Some(url.into())
    }

    /// Ends the sessions that a logout token identifies, on all replicas; returns their number.
    pub async fn back_channel_logout(
        &self,
        name: &str,
        token: &str,
    ) -> Result<u64, BackChannelError> {
        let outcome = self.end_sessions_by_token(name, token).await;
        if let Err(BackChannelError::Token(fault)) = &outcome
            && self.refused_logouts.admit()
        {
            tracing::info!(target: "berth::audit", event = "back-channel-refused", provider = name,
                reason = fault.reason());
        }
        outcome
    }

    async fn end_sessions_by_token(
        &self,
        name: &str,
        token: &str,
    ) -> Result<u64, BackChannelError> {
        let provider = self.provider(name).map_err(BackChannelError::Failed)?;
        let parsed = LogoutToken::parse(token, provider.config.logout_token_type)
            .map_err(BackChannelError::Token)?;
        let snapshot = provider
            .snapshot()
            .await
            .map_err(BackChannelError::Failed)?;
        let claims = self
            .verify_logout_token(provider, &snapshot, &parsed)
            .await?;
        let key = format!("logout-token:{name}:{}", claims.jti);
        let expiry_ms = claims.remember_until_ms;
        let store_error = |e: StoreError| BackChannelError::Failed(store_down(&e).into());
        let replayed = self.shared.is_claimed(&key, self.clock.now_ms()).await;
        if replayed.map_err(store_error)? {
            return Err(BackChannelError::Token(LogoutFault::Replayed));
        }
        // Keep sessions created after the token was issued: the token may be late or sent a second time.
        let created_before_ms = claims
            .issued_at_ms
            .saturating_add(registered_claims::LEEWAY_MS);
        let selector = claims.selector(name);
        let (sessions, cause) = (self.sessions.clone(), EndCause::BackChannel);
        let removal = async move {
            sessions
                .end_matching(&selector, created_before_ms, cause)
                .await
        };
        let ended_count = run_detached(removal).await.map_err(store_error)?;
        // Record the `jti` only afterwards: if the store fails, the retransmitted token must still count.
        let claim_result = self
            .shared
            .claim(&key, self.clock.now_ms(), expiry_ms)
            .await;
        claim_result.map_err(store_error)?;
        Ok(ended_count)
    }

    async fn verify_logout_token(
        &self,
        provider: &Arc<Provider>,
        snapshot: &Arc<ProviderSnapshot>,
        token: &LogoutToken<'_>,
    ) -> Result<LogoutClaims, BackChannelError> {
        let verdict = provider.check_signature(snapshot, &token.jws).await;
        let verdict = verdict.map_err(BackChannelError::Failed)?;
        verdict.map_err(|fault| BackChannelError::Token(fault.into()))?;
        let claims = token.check_claims(&provider.config, self.clock.now_ms());
        claims.map_err(BackChannelError::Token)
    }

    fn provider(&self, name: &str) -> Result<&Arc<Provider>, OidcError> {
        let provider = self.providers.iter().find(|p| p.config.name == name);
        provider.ok_or(OidcError::UnknownProvider)
    }
}

/// An error code from a provider, shortened and reduced to characters that are safe in a log.
fn sanitize_error_code(code: &str) -> String {
    let is_code_char = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    code.chars().filter(is_code_char).take(64).collect()
}
