//! Parses a security event token ([RFC 8417](https://www.rfc-editor.org/rfc/rfc8417)) and checks its form: all content
//! is untrusted input. Must not know keys, clocks or sessions: the caller verifies the signature and acts on it.

use super::error::SetError;
use super::subject::Subject;
use crate::core::jws::{JwsFault, UnverifiedJws};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Maximum length of `jti` and `kid`, in bytes.
const MAX_ID_BYTES: usize = 1024;
const NOT_A_TOKEN: SetError = SetError::invalid_request("the body is not a signed token");

/// A token whose signature is not verified yet.
#[derive(Clone, Debug, PartialEq)]
pub struct UnverifiedSet<'a> {
    pub jws: UnverifiedJws<'a>,
    pub claims: Claims,
}

/// The claims of a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    pub issuer: String,
    pub audience: Vec<String>,
    /// Unix seconds.
    pub issued_at: u64,
    /// Unix seconds. RFC 8417 section 2.2 advises against `exp`; if present, it is enforced.
    pub expires_at: Option<u64>,
    pub id: String,
    /// Keyed by event type URI.
    pub events: BTreeMap<String, Map<String, Value>>,
    /// The subject; `None` when it is missing or its format is unknown.
    pub subject: Option<Subject>,
}

#[derive(Deserialize)]
struct RawClaims {
    iss: Option<String>,
    aud: Option<Audience>,
    iat: Option<f64>,
    exp: Option<f64>,
    jti: Option<String>,
    events: Option<BTreeMap<String, Map<String, Value>>>,
    sub_id: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl<'a> UnverifiedSet<'a> {
    /// Parses the compact serialization.
    pub fn parse(token: &'a [u8]) -> Result<Self, SetError> {
        let token = std::str::from_utf8(token).map_err(|_| NOT_A_TOKEN)?;
        let jws = UnverifiedJws::parse(token).map_err(|fault| match fault {
            JwsFault::Malformed => NOT_A_TOKEN,
            JwsFault::Algorithm => SetError::invalid_key("alg is not accepted"),
            JwsFault::Critical => SetError::invalid_request("crit names what is not understood"),
        })?;
        // RFC 8417 section 2.3 recommends the type and the Shared Signals Framework requires it, so that a token for
        // another purpose is rejected.
        if jws.typ.as_deref() != Some("secevent+jwt") {
            return Err(SetError::invalid_request("typ is not secevent+jwt"));
        }
        if jws.kid.as_ref().is_some_and(|kid| kid.len() > MAX_ID_BYTES) {
            return Err(SetError::invalid_key("kid is too long"));
        }
        let claims = Claims::parse(&jws.payload)?;
        Ok(Self { jws, claims })
    }
}

impl Claims {
    /// Parses the claims; each invalid claim has its own error.
    pub fn parse(json: &[u8]) -> Result<Self, SetError> {
        // First as an object, because serde also reads a struct from a list of its fields.
        let raw: Result<Map<String, Value>, _> = serde_json::from_slice(json);
        let raw = raw.and_then(|raw| serde_json::from_value(raw.into()));
        let raw: RawClaims = raw.map_err(|_| {
            SetError::invalid_request("the claims are not those of a security event")
        })?;
        let events = raw.events.unwrap_or_default();
        let subject = match raw.sub_id {
            Some(subject) => Subject::parse(&subject)?,
            // Drafts of the standard had the subject as a member of the event.
            None => match events.values().find_map(|event| event.get("subject")) {
                Some(subject) => Subject::parse(subject)?,
                None => None,
            },
        };
        let jti = raw.jti.filter(|jti| !jti.is_empty());
        let claims = Self {
            issuer: raw.iss.ok_or(SetError::invalid_request("iss is missing"))?,
            audience: match raw.aud {
                None => return Err(SetError::invalid_request("aud is missing")),
                Some(Audience::One(audience)) => vec![audience],
                Some(Audience::Several(audience)) => audience,
            },
            issued_at: parse_numeric_date(
                raw.iat.ok_or(SetError::invalid_request("iat is missing"))?,
            )?,
            expires_at: raw.exp.map(parse_numeric_date).transpose()?,
            id: jti.ok_or(SetError::invalid_request("jti is missing"))?,
            events,
            subject,
        };
        if claims.id.len() > MAX_ID_BYTES {
            return Err(SetError::invalid_request("jti is too long"));
        }
        if claims.events.is_empty() {
            return Err(SetError::invalid_request("events is missing"));
        }
        Ok(claims)
    }
}

/// A NumericDate (RFC 7519 section 2), which may have a fraction.
fn parse_numeric_date(date: f64) -> Result<u64, SetError> {
    // At most the year 9999.
    let is_date = (0.0..253_402_300_800.0).contains(&date);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let seconds = date as u64;
    is_date
        .then_some(seconds)
        .ok_or(SetError::invalid_request("iat or exp is not a date"))
}

#[cfg(test)]
mod tests;
