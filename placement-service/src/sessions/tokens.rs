//! The JWT of a session: what the engines are told about the user (S26). It never reaches a browser.

mod bearer;

use crate::config;
use crate::core::clock::Clock;
use crate::core::rejection::Refusal;
use crate::sessions::LiveSession;
use crate::sessions::keys::SigningKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_api::Reason;
use moka::sync::Cache;
use rand::Rng;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Tokens kept for their sessions; older ones are minted again.
const CACHED_TOKENS: u64 = 50_000;

/// The longest token, in bytes: it has to pass as one header through Envoy and into an engine.
pub const MAX_TOKEN_BYTES: usize = 24 * 1024;

/// A signed token.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    /// The JWT, without `Bearer `. A secret.
    pub token: String,
    /// Unix seconds.
    pub expires_at: u64,
    /// Unix seconds: from here on a new one is minted.
    renew_at: u64,
}

impl Minted {
    /// A token that somebody else has minted with our key.
    #[must_use]
    pub fn brought_along(token: &str, expires_at: u64) -> Self {
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
    sub: &'a str,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    sid: &'a str,
    roles: &'a [String],
    #[serde(flatten)]
    further: BTreeMap<&'a str, &'a Value>,
}

/// The claims that are Berth's to say, whatever else a session carries.
pub const OWN_CLAIMS: [&str; 9] = [
    "iss", "aud", "sub", "exp", "nbf", "iat", "jti", "sid", "roles",
];

/// Mints tokens, and keeps each while more than half of its life is left.
pub struct Tokens {
    clock: Arc<dyn Clock>,
    key: SigningKey,
    /// Those that may have signed, or are going to.
    further: Vec<SigningKey>,
    issuer: String,
    audience: String,
    lifetime_s: u64,
    minted: Cache<String, Arc<Minted>>,
}

impl Tokens {
    /// With a key that has been checked.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, key: SigningKey, config: &config::Tokens) -> Self {
        Self {
            clock,
            key,
            further: Vec::new(),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime_s: config.lifetime.as_secs(),
            minted: Cache::builder()
                .max_capacity(CACHED_TOKENS)
                .time_to_live(config.lifetime.max(Duration::from_secs(1)))
                .build(),
        }
    }

    /// Publishes further keys beside the one that signs, so that keys can be exchanged while tokens of both
    /// are about (S26).
    #[must_use]
    pub fn with_further(mut self, further: Vec<SigningKey>) -> Self {
        self.further = further;
        self
    }

    /// A token with at least half of its life left. It ends with the session at the latest.
    pub fn mint(&self, session: &LiveSession) -> Result<Arc<Minted>, Refusal> {
        let now = self.clock.now_s();
        if let Some(minted) = self.minted.get(&session.session_ref)
            && now < minted.renew_at
        {
            return Ok(minted);
        }
        let minted = Arc::new(self.sign(session, now)?);
        let name = session.session_ref.clone();
        self.minted.insert(name, minted.clone());
        Ok(minted)
    }

    /// Signs the claims of a security event (RFC 8417), typed so that it cannot pass for a session's token.
    pub fn sign_event(&self, claims: &Value) -> Result<String, Refusal> {
        let mut header = self.key.header.clone();
        header.typ = Some("secevent+jwt".to_owned());
        signed(jsonwebtoken::encode(&header, claims, &self.key.key))
    }

    /// `iss` of everything that is signed.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Drops the kept token of a session that has ended.
    pub fn forget(&self, session_ref: &str) {
        self.minted.invalidate(session_ref);
    }

    /// The public keys as a JWK set (RFC 7517), the one that signs first; without shared secrets.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let public: Vec<_> = self.keys().filter_map(|key| key.public.as_ref()).collect();
        json!({ "keys": public })
    }

    /// Whose tokens are good: the key that signs, then the others.
    fn keys(&self) -> impl Iterator<Item = &SigningKey> {
        std::iter::once(&self.key).chain(&self.further)
    }

    fn sign(&self, session: &LiveSession, now: u64) -> Result<Minted, Refusal> {
        let expires_at = now.saturating_add(self.lifetime_s).min(session.expires_at);
        let mut jti = [0_u8; 16];
        rand::rng().fill_bytes(&mut jti);
        let further = session.claims.iter();
        let further = further.filter(|(name, _)| !OWN_CLAIMS.contains(&name.as_str()));
        let claims = Claims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: &session.account,
            exp: expires_at,
            nbf: now,
            iat: now,
            jti: URL_SAFE_NO_PAD.encode(jti),
            sid: &session.session_ref,
            roles: &session.roles,
            further: further
                .map(|(name, value)| (name.as_str(), value))
                .collect(),
        };
        let token = signed(jsonwebtoken::encode(
            &self.key.header,
            &claims,
            &self.key.key,
        ))?;
        if token.len() > MAX_TOKEN_BYTES {
            let length = token.len();
            tracing::warn!(session = session.session_ref, length, "a token is too long");
            return Err(Refusal::new(Reason::Forbidden).with_detail(format!(
                "the token would have {length} bytes, more than {MAX_TOKEN_BYTES}: too many roles or claims"
            )));
        }
        Ok(Minted {
            token,
            expires_at,
            renew_at: now + expires_at.saturating_sub(now) / 2,
        })
    }
}

fn signed(token: jsonwebtoken::errors::Result<String>) -> Result<String, Refusal> {
    token.map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        Reason::Internal.into()
    })
}

#[cfg(test)]
mod tests;
