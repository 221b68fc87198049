//! Checks the JWT that the placement service hands out, before an engine sees it: signature, exp,
//! nbf, iss, aud. The key says which algorithm it is for; what the token says of its algorithm is
//! only ever compared with that (RFC 8725, section 3.1). Knows no request.

use crate::verified::{Good, Verified};
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

/// Bytes that an HS256 secret must have at the least (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// A key and the one algorithm it is for.
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
    /// With what is wrong, never quoting the key.
    pub fn from_jwk(jwk: serde_json::Value) -> Result<Self, &'static str> {
        let jwk: Jwk = serde_json::from_value(jwk).map_err(|_| "the jwk cannot be read")?;
        let (algorithm, named, sizes_fit) = match &jwk.algorithm {
            AlgorithmParameters::RSA(p) => {
                // 2048 to 4096 bits; exponents of the usual size.
                let fit = (256..=512).contains(&decoded_len(&p.n))
                    && (1..=4).contains(&decoded_len(&p.e));
                (Algorithm::RS256, KeyAlgorithm::RS256, fit)
            }
            AlgorithmParameters::EllipticCurve(p) if p.curve == EllipticCurve::P256 => {
                let fit = decoded_len(&p.x) == 32 && decoded_len(&p.y) == 32;
                (Algorithm::ES256, KeyAlgorithm::ES256, fit)
            }
            AlgorithmParameters::OctetKeyPair(p) if p.curve == EllipticCurve::Ed25519 => (
                Algorithm::EdDSA,
                KeyAlgorithm::EdDSA,
                decoded_len(&p.x) == 32,
            ),
            AlgorithmParameters::OctetKey(p) => {
                let fit = decoded_len(&p.value) >= MIN_SECRET_BYTES;
                (Algorithm::HS256, KeyAlgorithm::HS256, fit)
            }
            _ => return Err("the jwk is of no kind that is supported"),
        };
        if jwk.common.key_algorithm.is_some_and(|alg| alg != named) {
            return Err("the jwk's alg is not supported");
        }
        if !sizes_fit {
            return Err("the jwk's key has a wrong size");
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| "the jwk's key cannot be read")?;
        Ok(Self {
            kid: jwk.common.key_id,
            algorithm,
            key: Rc::new(key),
        })
    }

    /// Whether it is a shared secret, which has no place in a public key set.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.algorithm == Algorithm::HS256
    }
}

/// What is looked at beyond what jsonwebtoken checks.
#[derive(Deserialize)]
struct Claims {
    /// Unix seconds.
    exp: u64,
    /// The session that it is of. Whether one is named is all that counts here.
    #[serde(default)]
    sid: Option<IgnoredAny>,
}

/// Why a token was not accepted. The words may quote the algorithm that it names, or a claim of the
/// wrong type; never its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// No key is meant for this token; a newer key set may have it.
    UnknownKey,
    /// It fails the check.
    Invalid(String),
}

impl fmt::Display for TokenFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey => f.write_str("no key is meant for it"),
            Self::Invalid(fault) => Excerpt(fault).fmt(f),
        }
    }
}

/// The keys to check tokens with, and what a token must say.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<(Key, Validation)>,
    fixed: usize,
    issuer: Rc<str>,
    audience: Rc<str>,
    leeway_s: u32,
    verified: RefCell<Verified>,
}

impl Keys {
    /// The keys of the configuration. A token must be for `audience`, from `issuer`, and in time
    /// within `leeway_s` seconds.
    #[must_use]
    pub fn new(keys: Vec<Key>, issuer: &str, audience: &str, leeway_s: u32) -> Self {
        let mut all = Self {
            keys: Vec::new(),
            fixed: keys.len(),
            issuer: issuer.into(),
            audience: audience.into(),
            leeway_s,
            verified: RefCell::default(),
        };
        all.extend(keys);
        all
    }

    /// The keys of the configuration together with these, which replace those fetched before.
    #[must_use]
    pub fn with_fetched(&self, fetched: Vec<Key>) -> Self {
        let mut all = self.clone();
        all.keys.truncate(self.fixed);
        // A key that is gone must take its tokens along.
        all.verified = RefCell::default();
        all.extend(fetched);
        all
    }

    /// Whether there is no key at all.
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

    /// Checks a token, once: a token that was good is good until its end.
    ///
    /// # Errors
    /// When no key accepts it.
    pub fn verify(&self, token: &str) -> Result<Good, TokenFault> {
        let known = self.verified.try_borrow().ok();
        if let Some(good) = known.and_then(|verified| verified.find(token)) {
            let leeway = u64::from(self.leeway_s);
            if get_current_timestamp() <= good.until.saturating_add(leeway) {
                return Ok(good);
            }
        }
        let good = self.check(token)?;
        if let Ok(mut verified) = self.verified.try_borrow_mut() {
            verified.note(token, good);
        }
        Ok(good)
    }

    /// Checks a token. A `kid` picks the key of that name, else the keys without a
    /// name are tried; a token without one is tried with every key of its algorithm.
    fn check(&self, token: &str) -> Result<Good, TokenFault> {
        let invalid = |error: jsonwebtoken::errors::Error| TokenFault::Invalid(error.to_string());
        let header = decode_header(token).map_err(invalid)?;
        let kid = header.kid.as_deref();
        let named = |key: &Key| key.kid.is_some() && key.kid.as_deref() == kid;
        let any_named = self.keys.iter().any(|(key, _)| named(key));
        let mut fault = TokenFault::UnknownKey;
        for (key, validation) in &self.keys {
            let meant = match kid {
                None => true,
                Some(_) if any_named => named(key),
                Some(_) => key.kid.is_none(),
            };
            if !meant || key.algorithm != header.alg {
                continue;
            }
            match decode::<Claims>(token, &key.key, validation) {
                Ok(token) => {
                    return Ok(Good {
                        until: token.claims.exp,
                        session: token.claims.sid.is_some(),
                    });
                }
                Err(error) => fault = invalid(error),
            }
        }
        Err(fault)
    }
}

/// Bytes that base64url text stands for.
const fn decoded_len(text: &str) -> usize {
    text.len().saturating_mul(3) / 4
}

#[cfg(test)]
mod tests;
