//! OpenID providers (S21): logging in by them, logging out at them, and hearing of logouts from them. Knows
//! nothing of HTTP but the addresses and texts that the protocol is made of.

mod attempt;
pub mod back_channel;
pub mod claims;
mod error;
mod flow;
mod outgoing;
mod provider;

pub use attempt::{ATTEMPT_MS, Attempt};
pub use error::OidcError;
pub use flow::Callback;

use crate::config::OidcProvider;
use crate::core::aead::SealingKeys;
use crate::core::clock::Clock;
use crate::core::log_sampler::LogSampler;
use crate::core::return_to::ReturnTo;
use crate::core::secret::Secret;
use crate::sessions::{NewSession, Sessions, store_down, to_the_end};
use back_channel::{LogoutClaims, LogoutFault, LogoutToken};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_store::{Coordination, EndCause, ProviderLink, StoreError};
use openidconnect::{ClientId, CsrfToken, LogoutRequest, PostLogoutRedirectUrl};
use outgoing::Outgoing;
use provider::{Known, Provider};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::str::FromStr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// A hint that is longer would make an address that nobody takes.
const MAX_HINT_BYTES: usize = 6 * 1024;
const HINT: &str = "logout hint";

/// Where the browser goes, and what it takes along.
pub struct Begun {
    pub location: String,
    /// The value of the attempt's cookie.
    pub cookie: String,
    /// What the callback comes with: it names the cookie.
    pub state: String,
}

/// A callback that belongs to a login which this browser has begun here.
pub struct OpenAttempt<'a> {
    provider: &'a Arc<Provider>,
    attempt: Attempt,
    callback: Callback,
}

impl OpenAttempt<'_> {
    /// Where the login is to lead.
    #[must_use]
    pub fn return_to(&self) -> Option<ReturnTo> {
        self.attempt.return_to()
    }
}

/// Why a logout token ended nothing.
#[derive(Debug)]
pub enum BackChannelError {
    /// The token does not hold.
    Token(LogoutFault),
    /// The provider or this service failed; the same token may be sent again.
    Failed(OidcError),
}

/// The use cases of OpenID providers.
pub struct Oidc {
    providers: Vec<Arc<Provider>>,
    keys: SealingKeys,
    sessions: Arc<Sessions>,
    shared: Arc<dyn Coordination>,
    clock: Arc<dyn Clock>,
    /// Anybody may push tokens that do not hold.
    refused_logouts: LogSampler,
}

impl Oidc {
    /// Over a configuration that has been checked; `secrets` in the order of the providers.
    pub fn new(
        providers: &[OidcProvider],
        secrets: &[Option<Secret>],
        keys: SealingKeys,
        sessions: Arc<Sessions>,
        shared: Arc<dyn Coordination>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OidcError> {
        let failed = |e: reqwest::Error| OidcError::Unreachable(e.to_string());
        let http = Outgoing::new().map_err(failed)?;
        let all = providers.iter().zip(secrets).map(|(config, secret)| {
            Provider::new(config.clone(), secret.as_ref(), http.clone(), clock.clone())
                .map(Arc::new)
        });
        Ok(Self {
            providers: all.collect::<Result<_, _>>()?,
            keys,
            sessions,
            shared,
            clock,
            refused_logouts: LogSampler::new("back-channel-refused"),
        })
    }

    /// Begins a login. `origin` is this site's own, as the browser knows it.
    pub async fn begin(
        &self,
        name: &str,
        origin: &str,
        return_to: Option<&ReturnTo>,
    ) -> Result<Begun, OidcError> {
        let provider = self.provider(name)?;
        let redirect_uri = format!("{origin}/login/oidc/{name}/callback");
        let return_to = return_to.map(|path| path.as_str().to_owned());
        let now_ms = self.clock.now_ms();
        let (url, attempt) = flow::begin(provider, redirect_uri, return_to, now_ms).await?;
        let cookie = attempt.seal(&self.keys).ok_or(OidcError::StateInvalid)?;
        Ok(Begun {
            location: url.into(),
            cookie,
            state: attempt.state,
        })
    }

    /// What the browser and the callback agree on, from the callback's query and the attempt's cookie. Asks
    /// neither the provider nor the store.
    pub fn open_attempt(
        &self,
        name: &str,
        query: &str,
        cookie: Option<&str>,
    ) -> Result<OpenAttempt<'_>, OidcError> {
        let provider = self.provider(name)?;
        let callback = Callback::parse(query)?;
        let cookie = cookie.ok_or(OidcError::StateMissing)?;
        let attempt = Attempt::open(&self.keys, cookie, name, self.clock.now_ms())?;
        let state = callback.state.as_deref().unwrap_or_default();
        if !bool::from(state.as_bytes().ct_eq(attempt.state.as_bytes())) {
            return Err(OidcError::StateMismatch);
        }
        Ok(OpenAttempt {
            provider,
            attempt,
            callback,
        })
    }

    /// Ends a login: redeems the code for a session that may begin.
    pub async fn finish(&self, open: OpenAttempt<'_>) -> Result<NewSession, OidcError> {
        let OpenAttempt {
            provider,
            attempt,
            callback,
        } = open;
        let known = provider.known().await?;
        flow::check_issuer(&known, &callback)?;
        let now_ms = self.clock.now_ms();
        // Its digest: what browsers carry is in no store.
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&attempt.state));
        let key = format!("login-state:{digest}");
        let until = attempt.began_at_ms.saturating_add(ATTEMPT_MS);
        let first = self.shared.once(&key, now_ms, until).await;
        if !first.map_err(|e| store_down(&e))? {
            return Err(OidcError::Replayed);
        }
        match callback.error.as_deref() {
            Some("access_denied") => return Err(OidcError::Denied),
            Some(error) => return Err(OidcError::Refused(plain(error))),
            None => {}
        }
        let code = callback
            .code
            .ok_or(OidcError::Callback("code is missing"))?;
        let proven = flow::redeem(provider, known, &attempt, code, now_ms).await?;
        let mapped = claims::map(&provider.config, &proven.claims)?;
        let session = proven.claims.get("sid").and_then(Value::as_str);
        let hint = Some(proven.id_token).filter(|token| token.len() <= MAX_HINT_BYTES);
        Ok(NewSession {
            account: mapped.account,
            roles: mapped.roles,
            claims: mapped.claims,
            provider: Some(ProviderLink {
                provider: provider.config.name.clone(),
                subject: proven.subject,
                session: session.map(str::to_owned),
                logout_hint: hint.and_then(|token| self.keys.seal(HINT, token.as_bytes())),
            }),
            ..NewSession::default()
        })
    }

    /// The name of a provider, if there is one; what a path names may be anything.
    #[must_use]
    pub fn configured_name(&self, name: &str) -> Option<&str> {
        let provider = self.provider(name).ok()?;
        Some(&provider.config.name)
    }

    /// The provider's logout page for a session that it began; `None` when it has none, or cannot be asked for it.
    pub async fn logout_url(&self, link: &ProviderLink, origin: &str) -> Option<String> {
        let provider = self.provider(&link.provider).ok()?;
        let known = provider.known().await.ok()?;
        let further = known.metadata.additional_metadata();
        let back = PostLogoutRedirectUrl::new(format!("{origin}/login")).ok()?;
        let mut request = LogoutRequest::from(further.end_session_endpoint.clone()?)
            .set_client_id(ClientId::new(provider.config.client_id.clone()))
            .set_post_logout_redirect_uri(back)
            .set_state(CsrfToken::new_random());
        let hint = link.logout_hint.as_deref();
        let hint = hint.and_then(|sealed| self.keys.open(HINT, sealed));
        let hint = hint.and_then(|hint| String::from_utf8(hint).ok());
        if let Some(hint) = hint.and_then(|hint| flow::IdToken::from_str(&hint).ok()) {
            request = request.set_id_token_hint(&hint);
        }
        Some(request.http_get_url().into())
    }

    /// Ends the sessions that a logout token is about, on every replica; how many there were.
    pub async fn back_channel(&self, name: &str, token: &str) -> Result<u64, BackChannelError> {
        let outcome = self.hear_of_logout(name, token).await;
        if let Err(BackChannelError::Token(fault)) = &outcome
            && self.refused_logouts.admit()
        {
            tracing::info!(target: "berth::audit", event = "back-channel-refused", provider = name,
                reason = fault.reason());
        }
        outcome
    }

    async fn hear_of_logout(&self, name: &str, token: &str) -> Result<u64, BackChannelError> {
        let provider = self.provider(name).map_err(BackChannelError::Failed)?;
        let parsed = LogoutToken::parse(token).map_err(BackChannelError::Token)?;
        let known = provider.known().await.map_err(BackChannelError::Failed)?;
        let claims = self.hold(provider, &known, &parsed).await?;
        let key = format!("logout-token:{name}:{}", claims.jti);
        let until = claims.remember_until_ms;
        let down = |e: StoreError| BackChannelError::Failed(store_down(&e).into());
        let replayed = self.shared.was_once(&key, self.clock.now_ms()).await;
        if replayed.map_err(down)? {
            return Err(BackChannelError::Token(LogoutFault::Replayed));
        }
        // Who has logged in since the provider said it, by a token that came late or again, stays.
        let begun_by_ms = claims.issued_at_ms.saturating_add(flow::LEEWAY_MS);
        let whose = claims.whose(name);
        let (sessions, cause) = (self.sessions.clone(), EndCause::BackChannel);
        let ending = async move { sessions.end_theirs(&whose, begun_by_ms, cause).await };
        let ended = to_the_end(ending).await.map_err(down)?;
        // Afterwards: a token that met a failing store must count when it comes again.
        let remembered = self.shared.once(&key, self.clock.now_ms(), until).await;
        remembered.map_err(down)?;
        Ok(ended)
    }

    async fn hold(
        &self,
        provider: &Arc<Provider>,
        known: &Arc<Known>,
        token: &LogoutToken<'_>,
    ) -> Result<LogoutClaims, BackChannelError> {
        let mut checked = token.check_signature(known.metadata.jwks().keys());
        if checked == Err(LogoutFault::UnknownKey) {
            let newer = provider.renewed(known).await;
            let newer = newer.map_err(BackChannelError::Failed)?;
            checked = token.check_signature(newer.metadata.jwks().keys());
        }
        checked.map_err(BackChannelError::Token)?;
        let (issuer, client) = (&provider.config.issuer, &provider.config.client_id);
        let claims = token.claims(issuer, client, self.clock.now_ms());
        claims.map_err(BackChannelError::Token)
    }

    fn provider(&self, name: &str) -> Result<&Arc<Provider>, OidcError> {
        let found = self.providers.iter().find(|p| p.config.name == name);
        found.ok_or(OidcError::UnknownProvider)
    }
}

/// An error code of a provider, short and without anything that a log would trip over.
fn plain(code: &str) -> String {
    let fine = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    code.chars().filter(fine).take(64).collect()
}
