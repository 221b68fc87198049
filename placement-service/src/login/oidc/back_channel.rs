//! Logout tokens ([OpenID Connect Back-Channel Logout 1.0 section 2.6]): decides whether a token is valid and which
//! sessions it identifies. Pure: keys and time are arguments. Must not know providers or sessions.
//!
//! [OpenID Connect Back-Channel Logout 1.0 section 2.6]:
//! https://openid.net/specs/openid-connect-backchannel-1_0.html#Validation

use super::registered_claims::{LEEWAY_MS, is_for_client, parse_id, parse_numeric_date_ms};
use crate::config::{LogoutTokenType, OidcProvider};
use crate::core::jws::{JwsFault, UnverifiedJws};
use crate::events::public_keys::SignatureFault;
use crate::sessions::SessionSelector;
use serde_json::{Map, Value};

/// The event type of a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Maximum age of a token; providers send it at once.
const MAX_AGE_MS: u64 = 300_000;
/// Maximum length of a token, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// Why a token was rejected. `Display` is the `error_description` of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutFault {
    #[error("logout_token is missing or came twice")]
    Missing,
    #[error("the token is not a signed JWT")]
    Malformed,
    #[error("alg is not allowed")]
    Algorithm,
    #[error("typ is not logout+jwt")]
    Type,
    #[error("no key of the provider has this kid")]
    UnknownKey,
    #[error("the signature is wrong")]
    Signature,
    #[error("iss is not the provider")]
    Issuer,
    #[error("aud is not this client and trusted audiences")]
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

impl From<JwsFault> for LogoutFault {
    fn from(fault: JwsFault) -> Self {
        match fault {
            JwsFault::Malformed => Self::Malformed,
            JwsFault::Algorithm | JwsFault::Critical => Self::Algorithm,
        }
    }
}

impl From<SignatureFault> for LogoutFault {
    fn from(fault: SignatureFault) -> Self {
        match fault {
            SignatureFault::UnknownKey => Self::UnknownKey,
            SignatureFault::Mismatch => Self::Signature,
        }
    }
}

/// A parsed token; nothing is verified yet.
pub struct LogoutToken<'a> {
    pub jws: UnverifiedJws<'a>,
    claims: Map<String, Value>,
}

impl<'a> LogoutToken<'a> {
    /// Parses a compact JWS of the accepted type.
    pub fn parse(token: &'a str, accepted_type: LogoutTokenType) -> Result<Self, LogoutFault> {
        if token.len() > MAX_BYTES {
            return Err(LogoutFault::Malformed);
        }
        let jws = UnverifiedJws::parse(token)?;
        let is_accepted = match jws.typ.as_deref() {
            Some("logout+jwt") => true,
            None | Some("jwt") => accepted_type == LogoutTokenType::Any,
            Some(_) => false,
        };
        if !is_accepted {
            return Err(LogoutFault::Type);
        }
        let claims = serde_json::from_slice(&jws.payload).map_err(|_| LogoutFault::Malformed)?;
        Ok(Self { jws, claims })
    }

    /// Checks the claims. The caller has verified the signature.
    pub fn check_claims(
        &self,
        provider: &OidcProvider,
        now_ms: u64,
    ) -> Result<LogoutClaims, LogoutFault> {
        let claim = |name: &str| self.claims.get(name);
        if claim("iss").and_then(Value::as_str) != Some(&provider.issuer) {
            return Err(LogoutFault::Issuer);
        }
        if !is_for_client(claim("aud"), provider) {
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
            Some(value) => parse_id(value).map(|id| Some(id.to_owned())).ok_or(()),
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

#[cfg(test)]
mod tests;
