//! Verifies JWTs before an engine sees them: signature, `exp`, `nbf`, `iss`, `aud`. The key determines the algorithm;
//! the `alg` of the token is only compared with it
//! ([RFC 8725](https://www.rfc-editor.org/rfc/rfc8725#section-3.1), section 3.1). Knows no request.

use crate::auth::verification_cache::{VerificationCache, VerifiedClaims};
use berth_api::Excerpt;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header, get_current_timestamp,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// Minimum bytes of an HS256 secret (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// A key and the one algorithm that it is for.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    key: Rc<DecodingKey>,
}

impl Key {
    /// A shared secret, for HS256.
    ///
    /// # Errors
    /// When it is shorter than [`MIN_SECRET_BYTES`].
    pub fn from_secret(kid: Option<String>, secret: &[u8]) -> Result<Self, &'static str> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err("an HS256 secret needs 32 bytes or more");
        }
        Ok(Self {
            kid,
            algorithm: Algorithm::HS256,
            key: Rc::new(DecodingKey::from_secret(secret)),
        })
    }

    /// A JSON Web Key: RSA for RS256, P-256 for ES256, Ed25519 for `EdDSA`, octets for HS256.
    ///
    /// # Errors
    /// A message that never quotes the key.
    pub fn from_jwk(jwk: serde_json::Value) -> Result<Self, &'static str> {
        let jwk: Jwk = serde_json::from_value(jwk).map_err(|_| "the jwk is malformed")?;
        let (algorithm, type_algorithm, sizes_fit) = match &jwk.algorithm {
            AlgorithmParameters::RSA(parameters) => {
                // 2048 to 4096 bits; exponents of the usual size.
                let fit = (256..=512).contains(&decoded_len(&parameters.n))
                    && (1..=4).contains(&decoded_len(&parameters.e));
                (Algorithm::RS256, KeyAlgorithm::RS256, fit)
            }
            AlgorithmParameters::EllipticCurve(parameters)
                if parameters.curve == EllipticCurve::P256 =>
            {
                let fit = decoded_len(&parameters.x) == 32 && decoded_len(&parameters.y) == 32;
                (Algorithm::ES256, KeyAlgorithm::ES256, fit)
            }
            AlgorithmParameters::OctetKeyPair(parameters)
                if parameters.curve == EllipticCurve::Ed25519 =>
            {
                (
                    Algorithm::EdDSA,
                    KeyAlgorithm::EdDSA,
                    decoded_len(&parameters.x) == 32,
                )
            }
            AlgorithmParameters::OctetKey(parameters) => {
                let fit = decoded_len(&parameters.value) >= MIN_SECRET_BYTES;
                (Algorithm::HS256, KeyAlgorithm::HS256, fit)
            }
            _ => return Err("the jwk has an unsupported type"),
        };
        if jwk
            .common
            .key_algorithm
            .is_some_and(|alg| alg != type_algorithm)
        {
            return Err("the jwk's alg is not supported");
        }
        if !sizes_fit {
            return Err("the jwk's key has a wrong size");
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| "the jwk's key is malformed")?;
        Ok(Self {
            kid: jwk.common.key_id,
            algorithm,
            key: Rc::new(key),
        })
    }

    /// Whether it is a shared secret, which must not occur in a public key set.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.algorithm == Algorithm::HS256
    }
}

/// The claims that the filter reads besides those that jsonwebtoken checks.
#[derive(Deserialize)]
struct Claims {
    /// Unix seconds.
    exp: u64,
    /// The session of the token. Only its presence counts.
    #[serde(default)]
    sid: Option<IgnoredAny>,
    #[serde(default)]
    roles: Roles,
}

/// The roles of a token's account. Tokens of other signers may have something else in their place.
#[derive(Deserialize)]
#[serde(untagged)]
enum Roles {
    List(Vec<String>),
    Other(IgnoredAny),
}

impl Default for Roles {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// Why a token is refused. The message may quote the token's `alg`, or a claim of a wrong type; never its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// No key is for this token; a newer key set may have it.
    UnknownKey,
    /// Verification failed.
    Invalid(String),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey => f.write_str("no key is meant for it"),
            Self::Invalid(message) => Excerpt(message).fmt(f),
        }
    }
}

/// The keys that verify tokens, and the claims that a token must have.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<(Key, Validation)>,
    /// How many of the keys are from the configuration; the others were fetched.
    configured: usize,
    issuer: Rc<str>,
    audience: Rc<str>,
    leeway_s: u32,
    verified: RefCell<VerificationCache>,
}

impl Keys {
    /// The keys of the configuration. A token must be for `audience`, from `issuer`, and valid now within `leeway_s`
    /// seconds.
    #[must_use]
    pub fn new(keys: Vec<Key>, issuer: &str, audience: &str, leeway_s: u32) -> Self {
        let mut key_set = Self {
            keys: Vec::new(),
            configured: keys.len(),
            issuer: issuer.into(),
            audience: audience.into(),
            leeway_s,
            verified: RefCell::default(),
        };
        key_set.extend(keys);
        key_set
    }

    /// The keys of the configuration and these, which replace keys of an earlier fetch.
    #[must_use]
    pub fn with_fetched(&self, fetched: Vec<Key>) -> Self {
        let mut merged = self.clone();
        merged.keys.truncate(self.configured);
        // Tokens of a removed key must fail from now on.
        merged.verified = RefCell::default();
        merged.extend(fetched);
        merged
    }

    /// Whether there is no key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn extend(&mut self, keys: Vec<Key>) {
        for key in keys {
            let mut validation = Validation::new(key.algorithm);
            validation.leeway = u64::from(self.leeway_s);
            validation.validate_nbf = true;
            validation.set_issuer(&[&self.issuer]);
            validation.set_audience(&[&self.audience]);
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            self.keys.push((key, validation));
        }
    }

    /// Verifies a token, or finds it among the verified ones: a verified token is valid until it expires.
    ///
    /// # Errors
    /// When no key accepts it.
    pub fn verify(&self, token: &str) -> Result<VerifiedClaims, TokenError> {
        let cache = self.verified.try_borrow().ok();
        if let Some(claims) = cache.and_then(|cache| cache.find(token)) {
            let leeway = u64::from(self.leeway_s);
            if get_current_timestamp() <= claims.expires_at.saturating_add(leeway) {
                return Ok(claims);
            }
        }
        let claims = self.verify_signature(token)?;
        if let Ok(mut cache) = self.verified.try_borrow_mut() {
            cache.insert(token, claims.clone());
        }
        Ok(claims)
    }

    /// Verifies a token. A `kid` selects the key of that name, else the keys without a name; a token without a `kid`
    /// is tried with every key of its algorithm.
    fn verify_signature(&self, token: &str) -> Result<VerifiedClaims, TokenError> {
        let invalid = |error: jsonwebtoken::errors::Error| TokenError::Invalid(error.to_string());
        let header = decode_header(token).map_err(invalid)?;
        let kid = header.kid.as_deref();
        let is_named_by_token = |key: &Key| key.kid.is_some() && key.kid.as_deref() == kid;
        let has_named_key = self.keys.iter().any(|(key, _)| is_named_by_token(key));
        let mut error = TokenError::UnknownKey;
        for (key, validation) in &self.keys {
            let selected = match kid {
                None => true,
                Some(_) if has_named_key => is_named_by_token(key),
                Some(_) => key.kid.is_none(),
            };
            if !selected || key.algorithm != header.alg {
                continue;
            }
            match decode::<Claims>(token, &key.key, validation) {
                Ok(token) => {
                    return Ok(VerifiedClaims {
                        expires_at: token.claims.exp,
                        has_session: token.claims.sid.is_some(),
                        roles: match token.claims.roles {
                            Roles::List(roles) => roles.into(),
                            Roles::Other(_) => Rc::default(),
                        },
                    });
                }
                Err(failure) => error = invalid(failure),
            }
        }
        Err(error)
    }
}

/// Bytes that a base64url text encodes.
const fn decoded_len(text: &str) -> usize {
    text.len().saturating_mul(3) / 4
}

#[cfg(test)]
mod tests;
