//! Issues the JWT of a session, which carries the user's identity to the engines. It is never sent to a browser.

mod bearer;

use crate::config::{self, SubjectTemplate};
use crate::core::clock::Clock;
use crate::core::rejection::Rejection;
use crate::sessions::LiveSession;
use crate::sessions::keys::SigningKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_api::RejectReason;
use berth_store::RESERVED_CLAIMS;
use moka::sync::Cache;
use rand::Rng;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of tokens in the cache.
const MAX_CACHED_TOKENS: u64 = 50_000;

/// Maximum lifetime of a token by which an engine session is ended, in seconds.
const END_LIFETIME_S: u64 = 60;

/// Maximum size of a token in bytes: Envoy and the engines must accept it in one header.
pub const MAX_TOKEN_BYTES: usize = 24 * 1024;

/// A signed token.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// The JWT, without `Bearer `. A secret.
    pub token: String,
    /// Unix seconds.
    pub expires_at: u64,
    /// Unix seconds: from then on a new token is issued.
    renew_at: u64,
}

impl IssuedToken {
    /// A token that a client sent, and that was verified.
    #[must_use]
    pub fn from_client(token: &str, expires_at: u64) -> Self {
        Self {
            token: token.to_owned(),
            expires_at,
            renew_at: expires_at,
        }
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    sid: &'a str,
    roles: &'a [String],
    #[serde(flatten)]
    additional: BTreeMap<&'a str, &'a Value>,
}

/// Issues tokens, and caches each until half of its lifetime has passed.
pub struct Tokens {
    clock: Arc<dyn Clock>,
    key: SigningKey,
    /// Keys that signed before or will sign later. They verify tokens and are published.
    other_keys: Vec<SigningKey>,
    issuer: String,
    audience: String,
    subject: SubjectTemplate,
    lifetime_s: u64,
    cache: Cache<String, Arc<IssuedToken>>,
}

impl Tokens {
    /// Signs with a key that has been checked.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, key: SigningKey, config: &config::Tokens) -> Self {
        Self {
            clock,
            key,
            other_keys: Vec::new(),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            subject: config.subject.clone(),
            lifetime_s: config.lifetime.as_secs(),
            cache: Cache::builder()
                .max_capacity(MAX_CACHED_TOKENS)
                .time_to_live(config.lifetime.max(Duration::from_secs(1)))
                .build(),
        }
    }

    /// Adds keys that verify tokens and are published beside the signing key. They allow a key to be rotated while
    /// tokens of both keys are in use.
    #[must_use]
    pub fn with_other_keys(mut self, other_keys: Vec<SigningKey>) -> Self {
        self.other_keys = other_keys;
        self
    }

    /// A token with at least half of its lifetime left. It expires with the session at the latest.
    pub fn issue(&self, session: &LiveSession) -> Result<Arc<IssuedToken>, Rejection> {
        let now = self.clock.now_s();
        if let Some(token) = self.cache.get(&session.session_ref)
            && now < token.renew_at
        {
            return Ok(token);
        }
        let token = Arc::new(self.sign(session, now)?);
        let name = session.session_ref.clone();
        self.cache.insert(name, token.clone());
        Ok(token)
    }

    /// A token by which an engine session is ended although its login session has ended. Short, and never cached.
    pub fn issue_to_end(&self, session: &LiveSession) -> Result<String, Rejection> {
        let now = self.clock.now_s();
        let session = LiveSession {
            expires_at: now.saturating_add(END_LIFETIME_S),
            ..session.clone()
        };
        self.sign(&session, now).map(|issued| issued.token)
    }

    /// Signs the claims of a security event ([RFC 8417](https://www.rfc-editor.org/rfc/rfc8417)). The `typ` in
    /// its header prevents that it is accepted as the token of a session.
    pub fn sign_event(&self, claims: &Value) -> Result<String, Rejection> {
        let mut header = self.key.header.clone();
        header.typ = Some("secevent+jwt".to_owned());
        log_signing_error(jsonwebtoken::encode(
            &header,
            claims,
            &self.key.encoding_key,
        ))
    }

    /// `iss` of all signed tokens.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub` of the tokens of an account, given by its key and the provider that it belongs to.
    #[must_use]
    pub fn subject(&self, provider: Option<&str>, account: &str) -> String {
        self.subject.subject(provider, account)
    }

    /// Removes the token of an ended session from the cache.
    pub fn forget(&self, session_ref: &str) {
        self.cache.invalidate(session_ref);
    }

    /// The public keys as a JWK set ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)), the signing key first. Shared
    /// secrets are not included.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let public: Vec<_> = self
            .verification_keys()
            .filter_map(|key| key.public_jwk.as_ref())
            .collect();
        json!({ "keys": public })
    }

    /// The keys that tokens are verified with: the signing key, then the others.
    fn verification_keys(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.key).chain(&self.other_keys)
    }

    fn sign(&self, session: &LiveSession, now: u64) -> Result<IssuedToken, Rejection> {
        let expires_at = now.saturating_add(self.lifetime_s).min(session.expires_at);
        let mut jti = [0_u8; 16];
        rand::rng().fill_bytes(&mut jti);
        let extra_claims = session.claims.iter();
        let extra_claims =
            extra_claims.filter(|(name, _)| !RESERVED_CLAIMS.contains(&name.as_str()));
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: self.subject(session.provider_name(), &session.account),
            exp: expires_at,
            nbf: now,
            iat: now,
            jti: URL_SAFE_NO_PAD.encode(jti),
            sid: &session.session_ref,
            roles: &session.roles,
            additional: extra_claims
                .map(|(name, value)| (name.as_str(), value))
                .collect(),
        };
        let token = log_signing_error(jsonwebtoken::encode(
            &self.key.header,
            &claims,
            &self.key.encoding_key,
        ))?;
        if token.len() > MAX_TOKEN_BYTES {
            let length = token.len();
            tracing::warn!(session = session.session_ref, length, "a token is too long");
            return Err(Rejection::new(RejectReason::Forbidden).with_detail(format!(
                "the token would have {length} bytes, more than {MAX_TOKEN_BYTES}: too many roles or claims"
            )));
        }
        Ok(IssuedToken {
            token,
            expires_at,
            renew_at: now + expires_at.saturating_sub(now) / 2,
        })
    }
}

fn log_signing_error(token: jsonwebtoken::errors::Result<String>) -> Result<String, Rejection> {
    token.map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        RejectReason::Internal.into()
    })
}

#[cfg(test)]
mod tests;
