//! Parses a security event token ([RFC 8417](https://www.rfc-editor.org/rfc/rfc8417)) and checks its form: all content
//! is untrusted input. Must not know keys, clocks or sessions: the caller verifies the signature and acts on it.

use super::error::SetError;
use super::subject::Subject;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Maximum length of `jti` and `kid`, in bytes.
const MAX_ID_BYTES: usize = 1024;

/// A token whose signature is not verified yet.
#[derive(Clone, Debug, PartialEq)]
pub struct UnverifiedSet {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    /// The signed part of the token (`header.claims`); `signature` is base64url.
    pub message: String,
    pub signature: String,
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
struct RawHeader {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
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

impl UnverifiedSet {
    /// Parses the compact serialization.
    pub fn parse(token: &[u8]) -> Result<Self, SetError> {
        let not_a_token = SetError::invalid_request("the body is not a signed token");
        let token = std::str::from_utf8(token).map_err(|_| not_a_token)?;
        let (message, signature) = token.rsplit_once('.').ok_or(not_a_token)?;
        let (header, claims) = message.split_once('.').ok_or(not_a_token)?;
        let header = decode_base64url(header).ok_or(not_a_token)?;
        let header: RawHeader = serde_json::from_slice(&header).map_err(|_| not_a_token)?;
        let algorithm = parse_algorithm(&header.alg)?;
        check_header(&header)?;
        let signed = decode_base64url(signature).is_some_and(|signature| !signature.is_empty());
        let claims = decode_base64url(claims)
            .filter(|_| signed)
            .ok_or(not_a_token)?;
        Ok(Self {
            algorithm,
            kid: header.kid,
            message: message.to_owned(),
            signature: signature.to_owned(),
            claims: Claims::parse(&claims)?,
        })
    }
}

/// Accepts only asymmetric algorithms. With a symmetric one, everyone who knows the public key could sign; with `none`,
/// anyone could.
fn parse_algorithm(name: &str) -> Result<Algorithm, SetError> {
    let algorithm = name.parse::<Algorithm>().ok();
    let symmetric = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    let asymmetric = algorithm.filter(|algorithm| !symmetric.contains(algorithm));
    asymmetric.ok_or(SetError::invalid_key("alg is not accepted"))
}

fn check_header(header: &RawHeader) -> Result<(), SetError> {
    // RFC 8417 section 2.3 recommends the type and the Shared Signals Framework requires it, so that a token for
    // another purpose is rejected. By RFC 7515 section 4.1.9, `application/` is optional and case is ignored.
    let typ = header
        .typ
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if typ.strip_prefix("application/").unwrap_or(&typ) != "secevent+jwt" {
        return Err(SetError::invalid_request("typ is not secevent+jwt"));
    }
    if header.crit.is_some() {
        return Err(SetError::invalid_request(
            "crit names what is not understood",
        ));
    }
    if header
        .kid
        .as_ref()
        .is_some_and(|kid| kid.len() > MAX_ID_BYTES)
    {
        return Err(SetError::invalid_key("kid is too long"));
    }
    Ok(())
}

impl Claims {
    /// Parses the claims; each invalid claim has its own error.
    pub fn parse(json: &[u8]) -> Result<Self, SetError> {
        let raw: RawClaims = serde_json::from_slice(json).map_err(|_| {
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

fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests;
