//! ID tokens ([OpenID Connect Core 1.0 section 3.1.3.7]): decides whether a token proves the login that asked for it.
//! Checks the claims that identify issuer, client, login and user, and leaves all others as they are. Pure: keys and
//! time are arguments. Must not know accounts or roles.
//!
//! [OpenID Connect Core 1.0 section 3.1.3.7]: https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation

use super::OidcError;
use super::registered_claims::{LEEWAY_MS, is_for_client, parse_id, parse_numeric_date_ms};
use crate::config::OidcProvider;
use crate::core::jws::UnverifiedJws;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Maximum age of an ID token, which the provider issues in response to our request.
const MAX_AGE_MS: u64 = 600_000;

/// A parsed token; nothing is verified yet.
pub(super) struct IdToken<'a> {
    pub(super) jws: UnverifiedJws<'a>,
    claims: Map<String, Value>,
}

/// The values of the login that the token must match.
pub(super) struct ExpectedLogin<'a> {
    pub(super) nonce: &'a str,
    /// The access token of the same response, if it has one.
    pub(super) access_token: Option<&'a str>,
    pub(super) now_ms: u64,
}

impl<'a> IdToken<'a> {
    /// Parses a compact JWS.
    pub(super) fn parse(token: &'a str) -> Result<Self, OidcError> {
        let jws = UnverifiedJws::parse(token);
        let jws = jws.map_err(|e| OidcError::InvalidIdToken(e.to_string()))?;
        // A token for another purpose has a type of its own (RFC 8725 section 3.11).
        if !matches!(jws.typ.as_deref(), None | Some("jwt")) {
            return Err(fault("typ", "is not JWT"));
        }
        let claims = serde_json::from_slice(&jws.payload);
        let claims = claims.map_err(|_| fault("payload", "is not a JSON object"))?;
        Ok(Self { jws, claims })
    }

    /// Checks the claims; returns the subject and all claims. The caller has verified the signature.
    pub(super) fn into_verified_claims(
        self,
        provider: &OidcProvider,
        expected: &ExpectedLogin<'_>,
    ) -> Result<(String, Map<String, Value>), OidcError> {
        let claim = |name: &str| self.claims.get(name).filter(|value| !value.is_null());
        if claim("iss").and_then(Value::as_str) != Some(&provider.issuer) {
            return Err(fault("iss", "is not the provider"));
        }
        if !is_for_client(claim("aud"), provider) {
            return Err(fault("aud", "is not this client and trusted_audiences"));
        }
        if claim("azp").is_some_and(|party| party.as_str() != Some(&provider.client_id)) {
            return Err(fault("azp", "is not this client"));
        }
        let expires_at_ms = parse_numeric_date_ms(claim("exp"));
        if expires_at_ms.is_none_or(|at| at.saturating_add(LEEWAY_MS) <= expected.now_ms) {
            return Err(fault("exp", "is missing or past"));
        }
        let oldest_ms = expected.now_ms.saturating_sub(MAX_AGE_MS);
        let newest_ms = expected.now_ms.saturating_add(LEEWAY_MS);
        let issued_at_ms = parse_numeric_date_ms(claim("iat"));
        if !issued_at_ms.is_some_and(|at| (oldest_ms..=newest_ms).contains(&at)) {
            return Err(fault("iat", "is missing, too old or in the future"));
        }
        if claim("nonce").and_then(Value::as_str) != Some(expected.nonce) {
            return Err(OidcError::NonceMismatch);
        }
        if let (Some(hash), Some(access_token)) = (claim("at_hash"), expected.access_token)
            && hash.as_str() != Some(&access_token_hash(access_token, self.jws.algorithm))
        {
            return Err(fault("at_hash", "is not that of the access token"));
        }
        let subject = claim("sub").and_then(parse_id);
        let subject = subject.ok_or_else(|| fault("sub", "is missing or malformed"))?;
        Ok((subject.to_owned(), self.claims))
    }
}

/// The left half of the access token's hash, with the hash function of the ID token's algorithm (OpenID Connect Core
/// 1.0 section 3.1.3.6; Ed25519 uses SHA-512).
fn access_token_hash(access_token: &str, algorithm: Algorithm) -> String {
    let hash = match algorithm {
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => {
            Sha384::digest(access_token).to_vec()
        }
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => {
            Sha512::digest(access_token).to_vec()
        }
        _ => Sha256::digest(access_token).to_vec(),
    };
    let half = hash.get(..hash.len() / 2).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(half)
}

fn fault(name: &str, problem: &str) -> OidcError {
    OidcError::InvalidIdToken(format!("{name} {problem}"))
}
