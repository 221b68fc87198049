//! Parses a signed JWT that another party issued ([RFC 7515 section 7.1]): an ID token, a logout token, a security
//! event token. Decides which signature algorithms are acceptable. Must not know keys or claims: the caller verifies
//! the signature and checks the claims.
//!
//! [RFC 7515 section 7.1]: https://www.rfc-editor.org/rfc/rfc7515#section-7.1

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Why a text is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsFault {
    #[error("not a signed JWT")]
    Malformed,
    #[error("alg is missing or not accepted")]
    Algorithm,
    #[error("crit names an extension that is not supported")]
    Critical,
}

/// A signed JWT. Nothing is verified yet.
#[derive(Clone, Debug, PartialEq)]
pub struct UnverifiedJws<'a> {
    /// Always asymmetric.
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    /// The media type, in lower case and without `application/` (RFC 7515 section 4.1.9).
    pub typ: Option<String>,
    /// The signed part of the token, `header.payload`.
    pub message: &'a str,
    /// In base64url.
    pub signature: &'a str,
    pub payload: Vec<u8>,
}

/// The header parameters in use. Others are not read, whatever their type.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: Value,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

impl<'a> UnverifiedJws<'a> {
    /// Parses the compact serialization.
    pub fn parse(token: &'a str) -> Result<Self, JwsFault> {
        let (message, signature) = token.rsplit_once('.').ok_or(JwsFault::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(JwsFault::Malformed)?;
        // First as an object, because serde also reads a struct from a list of its fields.
        let header: Result<Map<String, Value>, _> = serde_json::from_slice(&decode(header)?);
        let header = header.and_then(|header| serde_json::from_value(header.into()));
        let header: Header = header.map_err(|_| JwsFault::Malformed)?;
        let algorithm = parse_algorithm(&header.alg)?;
        if header.crit.is_some() {
            return Err(JwsFault::Critical);
        }
        if decode(signature)?.is_empty() {
            return Err(JwsFault::Malformed);
        }
        Ok(Self {
            algorithm,
            kid: header.kid,
            typ: header.typ.as_deref().map(normalize_type),
            message,
            signature,
            payload: decode(payload)?,
        })
    }
}

/// Accepts only asymmetric algorithms. With a symmetric one, everyone who knows the public key could sign; with `none`,
/// anyone could.
fn parse_algorithm(alg: &Value) -> Result<Algorithm, JwsFault> {
    let algorithm = alg.as_str().and_then(|name| name.parse::<Algorithm>().ok());
    let symmetric = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
    let asymmetric = algorithm.filter(|algorithm| !symmetric.contains(algorithm));
    asymmetric.ok_or(JwsFault::Algorithm)
}

fn normalize_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    let short = typ.strip_prefix("application/").map(str::to_owned);
    short.unwrap_or(typ)
}

fn decode(base64url: &str) -> Result<Vec<u8>, JwsFault> {
    let bytes = URL_SAFE_NO_PAD.decode(base64url);
    bytes.map_err(|_| JwsFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn token(header: &Value) -> String {
        format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header.to_string()))
    }

    #[test]
    fn parameters_that_are_not_used_may_have_any_type() {
        let header = json!({"alg": "ES256", "kid": "k", "typ": "application/JWT", "x5c": 5, "jku": [], "cty": {}});
        let text = token(&header);
        let jws = UnverifiedJws::parse(&text).unwrap();
        assert_eq!(jws.algorithm, Algorithm::ES256);
        assert_eq!(
            (jws.kid.as_deref(), jws.typ.as_deref()),
            (Some("k"), Some("jwt"))
        );
        assert_eq!(format!("{}.{}", jws.message, jws.signature), text);
        assert_eq!(jws.payload, b"{}");
        let bare = token(&json!({"alg": "RS256", "kid": null, "typ": null, "crit": null}));
        let bare = UnverifiedJws::parse(&bare).unwrap();
        assert_eq!((bare.kid, bare.typ), (None, None));
    }

    #[test]
    fn each_fault_is_told_apart() {
        for alg in [
            "none", "None", "HS256", "HS384", "HS512", "RSA-OAEP", "es256", "",
        ] {
            let fault = UnverifiedJws::parse(&token(&json!({ "alg": alg }))).err();
            assert_eq!(fault, Some(JwsFault::Algorithm), "{alg}");
        }
        for (header, fault) in [
            (json!({}), JwsFault::Algorithm),
            (json!({"alg": 5}), JwsFault::Algorithm),
            (json!({"alg": "ES256", "crit": ["b64"]}), JwsFault::Critical),
            (json!({"alg": "ES256", "kid": 5}), JwsFault::Malformed),
            (json!({"alg": "ES256", "typ": {}}), JwsFault::Malformed),
            (json!(["ES256"]), JwsFault::Malformed),
        ] {
            let actual = UnverifiedJws::parse(&token(&header)).err();
            assert_eq!(actual, Some(fault), "{header}");
        }
        let signed = token(&json!({"alg": "ES256"}));
        let unsigned = signed.strip_suffix("c2ln").unwrap();
        for malformed in [
            "",
            "a",
            "a.b",
            "a.b.c",
            "..",
            "{}",
            "\u{1F980}.e30.c2ln",
            unsigned,
        ] {
            let fault = UnverifiedJws::parse(malformed).err();
            assert_eq!(fault, Some(JwsFault::Malformed), "{malformed}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = UnverifiedJws::parse(&text);
        }
    }
}
