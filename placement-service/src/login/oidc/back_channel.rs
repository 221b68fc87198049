//! Logout tokens ([OpenID Connect Back-Channel Logout 1.0 section 2.6]): decides whether a token is valid and which
//! sessions it identifies. Pure: keys and time are arguments. Must not know providers or sessions.
//!
//! [OpenID Connect Back-Channel Logout 1.0 section 2.6]:
//! https://openid.net/specs/openid-connect-backchannel-1_0.html#Validation

use super::flow::{ALGORITHMS, LEEWAY_MS};
use crate::sessions::SessionSelector;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::JsonWebKey;
use openidconnect::core::{CoreJsonWebKey, CoreJwsSigningAlgorithm};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// The event type of a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Maximum age of a token; providers send it at once.
const MAX_AGE_MS: u64 = 300_000;
/// Maximum length of a token, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// Maximum length of `jti`, `sub` and `sid`, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// Why a token was rejected. `Display` is the `error_description` of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutFault {
    #[error("logout_token is missing or came twice")]
    Missing,
    #[error("the token is not a signed JWT")]
    Malformed,
    #[error("alg is not allowed")]
    Algorithm,
    #[error("typ is not that of a logout token")]
    Type,
    #[error("no key of the provider has this kid")]
    UnknownKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("iss is not the provider")]
    Issuer,
    #[error("aud is not this client")]
    Audience,
    #[error("iat is missing, too old or in the future")]
    IssuedAt,
    #[error("exp is missing or past")]
    Expired,
    #[error("events does not name a back-channel logout")]
    Events,
    #[error("nonce must not be there")]
    Nonce,
    #[error("sub and sid are missing or malformed")]
    Subject,
    #[error("jti is missing or malformed")]
    Jti,
    #[error("jti was used before")]
    Replayed,
}

impl LogoutFault {
    /// The constant for logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Algorithm => "alg",
            Self::Type => "typ",
            Self::UnknownKey => "kid",
            Self::Signature => "signature",
            Self::Issuer => "iss",
            Self::Audience => "aud",
            Self::IssuedAt => "iat",
            Self::Expired => "exp",
            Self::Events => "events",
            Self::Nonce => "nonce",
            Self::Subject => "sub",
            Self::Jti => "jti",
            Self::Replayed => "replayed",
        }
    }
}

/// The claims of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutClaims {
    /// The user (`sub`) and the session (`sid`) to log out. At least one is present.
    pub subject: Option<String>,
    pub session: Option<String>,
    pub jti: String,
    /// When the token was issued (`iat`).
    pub issued_at_ms: u64,
    /// Until when the `jti` must be recorded against replay.
    pub remember_until_ms: u64,
}

impl LogoutClaims {
    /// The selector of the sessions to end.
    pub fn selector(&self, provider: &str) -> SessionSelector {
        let (provider, subject) = (provider.to_owned(), self.subject.clone());
        let user = subject.map(|subject| SessionSelector::ProviderSubject {
            provider: provider.clone(),
            subject,
        });
        let session = self.session.clone();
        match (session, user) {
            (None, Some(user)) => user,
            (session, user) => SessionSelector::ProviderSession {
                provider,
                session: session.unwrap_or_default(),
                user: user.map(Box::new),
            },
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: CoreJwsSigningAlgorithm,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// A parsed token; nothing is verified yet.
pub struct LogoutToken<'a> {
    header: Header,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> LogoutToken<'a> {
    /// Parses a compact JWS. Rejects algorithms that are not asymmetric signatures.
    pub fn parse(token: &'a str) -> Result<Self, LogoutFault> {
        if token.len() > MAX_BYTES {
            return Err(LogoutFault::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(LogoutFault::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(LogoutFault::Malformed)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text);
        let malformed = |_| LogoutFault::Malformed;
        let signature = decode(signature).map_err(malformed)?;
        let header: Map<String, Value> = parse_object(&decode(header).map_err(malformed)?)?;
        let claims = parse_object(&decode(claims).map_err(malformed)?)?;
        // An unknown algorithm fails to deserialize; it is not allowed either.
        let header: Header =
            serde_json::from_value(header.into()).map_err(|_| LogoutFault::Algorithm)?;
        if !ALGORITHMS.contains(&header.alg) || header.crit.is_some() {
            return Err(LogoutFault::Algorithm);
        }
        let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
        let typ = typ
            .as_deref()
            .map(|t| t.strip_prefix("application/").unwrap_or(t));
        if !matches!(typ, None | Some("jwt" | "logout+jwt")) {
            return Err(LogoutFault::Type);
        }
        Ok(Self {
            header,
            claims,
            signed,
            signature,
        })
    }

    /// Verifies the signature with the provider's keys.
    pub fn check_signature(&self, keys: &[CoreJsonWebKey]) -> Result<(), LogoutFault> {
        let kid = self.header.kid.as_deref();
        let of_kid =
            |key: &&CoreJsonWebKey| kid.is_none() || key.key_id().map(|id| id.as_str()) == kid;
        let mut fault = LogoutFault::UnknownKey;
        for key in keys.iter().filter(of_kid) {
            let (alg, signed) = (&self.header.alg, self.signed.as_bytes());
            if key.verify_signature(alg, signed, &self.signature).is_ok() {
                return Ok(());
            }
            fault = LogoutFault::Signature;
        }
        Err(fault)
    }

    /// Checks the claims. The caller has verified the signature.
    pub fn check_claims(
        &self,
        issuer: &str,
        client_id: &str,
        now_ms: u64,
    ) -> Result<LogoutClaims, LogoutFault> {
        let claim = |name: &str| self.claims.get(name);
        if claim("iss").and_then(Value::as_str) != Some(issuer) {
            return Err(LogoutFault::Issuer);
        }
        let for_us = match claim("aud") {
            Some(Value::String(audience)) => audience == client_id,
            Some(Value::Array(audiences)) => {
                audiences.iter().any(|aud| aud.as_str() == Some(client_id))
            }
            _ => false,
        };
        if !for_us {
            return Err(LogoutFault::Audience);
        }
        let issued_at = parse_numeric_date_ms(claim("iat")).ok_or(LogoutFault::IssuedAt)?;
        if issued_at > now_ms.saturating_add(LEEWAY_MS)
            || issued_at < now_ms.saturating_sub(MAX_AGE_MS)
        {
            return Err(LogoutFault::IssuedAt);
        }
        let expires_at = parse_numeric_date_ms(claim("exp")).ok_or(LogoutFault::Expired)?;
        if expires_at.saturating_add(LEEWAY_MS) <= now_ms {
            return Err(LogoutFault::Expired);
        }
        let event = claim("events").and_then(|events| events.get(EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err(LogoutFault::Events);
        }
        if claim("nonce").is_some() {
            return Err(LogoutFault::Nonce);
        }
        let string_claim = |name: &str| match claim(name) {
            None => Ok(None),
            Some(Value::String(text)) if (1..=MAX_NAME_BYTES).contains(&text.len()) => {
                Ok(Some(text.clone()))
            }
            Some(_) => Err(()),
        };
        let subject = string_claim("sub").map_err(|()| LogoutFault::Subject)?;
        let session = string_claim("sid").map_err(|()| LogoutFault::Subject)?;
        if subject.is_none() && session.is_none() {
            return Err(LogoutFault::Subject);
        }
        let jti = string_claim("jti").ok().flatten().ok_or(LogoutFault::Jti)?;
        Ok(LogoutClaims {
            subject,
            session,
            jti,
            issued_at_ms: issued_at,
            // After that, the token is too old anyway.
            remember_until_ms: issued_at.saturating_add(MAX_AGE_MS + LEEWAY_MS),
        })
    }
}

fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, LogoutFault> {
    serde_json::from_slice(bytes).map_err(|_| LogoutFault::Malformed)
}

/// Parses a NumericDate (RFC 7519 section 2), which may have a fraction.
fn parse_numeric_date_ms(value: Option<&Value>) -> Option<u64> {
    let seconds = value?.as_f64().filter(|s| (0.0..1e13).contains(s))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|duration| u64::try_from(duration.as_millis()).ok())
}

#[cfg(test)]
mod tests;
